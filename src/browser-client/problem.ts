export interface ProblemFields {
  status: number
  code: string
  title: string
  detail: string
  requestId?: string
  errors?: readonly { path: string; message: string }[]
  jobStatus?: string
  retryAfterSeconds?: number
}

/**
 * Why a call failed: the problem document of the service, or an error in the same form. Branch on `code`. Three codes do not
 * come from the service: `unreachable` (status 0) when there was no answer, `token_unavailable` (status 0) when the token
 * callback failed, `unexpected_answer` when the answer is not Headway's.
 */
export class HeadwayProblem extends Error {
  override readonly name = 'HeadwayProblem'
  readonly status: number
  readonly code: string
  readonly title: string
  readonly detail: string
  readonly requestId: string | null
  readonly errors: readonly { path: string; message: string }[]
  readonly jobStatus: string | null
  readonly retryAfterSeconds: number | null

  constructor(fields: ProblemFields, options?: ErrorOptions) {
    super(fields.detail, options)
    this.status = fields.status
    this.code = fields.code
    this.title = fields.title
    this.detail = fields.detail
    this.requestId = fields.requestId ?? null
    this.errors = fields.errors ?? []
    this.jobStatus = fields.jobStatus ?? null
    this.retryAfterSeconds = fields.retryAfterSeconds ?? null
  }
}

export const unreachable = (cause: unknown): HeadwayProblem =>
  new HeadwayProblem(
    {
      status: 0,
      code: 'unreachable',
      title: 'No answer',
      detail: 'Headway does not answer: is it reachable from here?',
    },
    { cause },
  )

export const unexpectedAnswer = (status: number): HeadwayProblem =>
  new HeadwayProblem({
    status,
    code: 'unexpected_answer',
    title: 'An unexpected answer',
    detail: `What answered with status ${status} is not Headway: check the address, and what stands before it.`,
  })

/** A proxy may ask for days. */
const LONGEST_RETRY_AFTER_SECONDS = 300

/** Seconds, or a date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
const retryAfterOf = (headers: Headers): number | null => {
  const text = headers.get('retry-after') ?? ''
  const seconds = /^\d+$/.test(text) ? Number(text) : Math.ceil((Date.parse(text) - Date.now()) / 1000)
  return Number.isNaN(seconds) ? null : Math.min(Math.max(0, seconds), LONGEST_RETRY_AFTER_SECONDS)
}

/** The problem in an answer that is not a success. Never raises. */
export const readProblem = async (response: Response): Promise<HeadwayProblem> => {
  const retryAfterSeconds = retryAfterOf(response.headers)
  const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json') ?? false
  if (!isProblem) {
    await response.body?.cancel().catch(() => undefined)
    const { status, code, title, detail } = unexpectedAnswer(response.status)
    return new HeadwayProblem({ status, code, title, detail, ...(retryAfterSeconds !== null && { retryAfterSeconds }) })
  }
  try {
    const document = (await response.json()) as ProblemFields
    return new HeadwayProblem({ ...document, ...(retryAfterSeconds !== null && { retryAfterSeconds }) })
  } catch (error) {
    return unreachable(error)
  }
}

export const problemOf = (error: unknown): HeadwayProblem =>
  error instanceof HeadwayProblem ? error : unreachable(error)

/** Whether the token was refused. A 403 that is not a problem document comes from a proxy, which may let polls pass. */
export const isRefusal = ({ status, code }: HeadwayProblem): boolean =>
  status === 401 || code === 'token_unavailable' || (status === 403 && code !== 'unexpected_answer')
