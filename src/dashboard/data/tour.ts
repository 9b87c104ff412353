import { BASE_PATH } from '../../contract/http.ts'

export const TOUR_WAYS = ['curl', 'command', 'node', 'python'] as const
export type TourWay = (typeof TOUR_WAYS)[number]

/** create, report, complete: what the reader types for each. */
export type TourCode = readonly [create: string, report: string, complete: string]

interface Surroundings {
  /** Of the service, as this browser sees it. */
  url: string
  /** null: the service asks for none. */
  token: string | null
  /** The job that the reader has created; null: not yet. */
  jobId: string | null
}

const NAME = 'My first job'
const TYPE = 'tour'

/** A text as one word for a POSIX shell. */
export const shellWord = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** A text as a literal of JavaScript and of Python, which read the escapes of JSON alike. */
const literal = (text: string): string => JSON.stringify(text)

const curl = ({ url, token, jobId }: Surroundings): TourCode => {
  const jobs = `${url}${BASE_PATH}/jobs`
  const bearer = token === null ? '' : ` \\\n  -H ${shellWord(`Authorization: Bearer ${token}`)}`
  const call = (path: string, body: object): string =>
    `curl ${shellWord(`${jobs}${path}`)}${bearer} \\\n  --json ${shellWord(JSON.stringify(body))}`
  const job = `/${jobId ?? 'JOB_ID'}`
  return [
    call('', { jobType: TYPE, name: NAME, totalCount: 100 }),
    call(`${job}/heartbeat`, { processedCount: 40, message: 'Row 40' }),
    call(`${job}/complete`, { message: 'All rows done' }),
  ]
}

const command = ({ url, token }: Surroundings): TourCode => {
  const surroundings = [
    `export HEADWAY_URL=${shellWord(url)}`,
    ...(token === null ? [] : [`export HEADWAY_TOKEN=${shellWord(token)}`]),
  ].join('\n')
  const run = `npx headway run --type ${TYPE} --name ${shellWord(NAME)}`
  return [
    `${surroundings}\n${run} -- sleep 20`,
    `${run} --parse -- \\\n  bash -c 'for row in {1..20}; do sleep 1; echo "$row/20"; done'`,
    `${run} -- bash -c 'exit 1'`,
  ]
}

const node = ({ url, token }: Surroundings): TourCode => {
  const options = [`url: ${literal(url)}`, ...(token === null ? [] : [`token: ${literal(token)}`])].join(', ')
  return [
    [
      'npm install @headway/worker && node',
      `const { createWorker } = await import('@headway/worker')`,
      `const headway = createWorker({ ${options} })`,
      `const job = await headway.start({ jobType: '${TYPE}', name: '${NAME}', totalCount: 100 })`,
    ].join('\n'),
    `job.advance(40)\njob.report({ message: 'Row 40' })`,
    'await job.complete()',
  ]
}

const python = ({ url, token }: Surroundings): TourCode => [
  [
    'pip install headway-progress && python3',
    'import headway',
    `headway.configure(${[literal(url), ...(token === null ? [] : [literal(token)])].join(', ')})`,
    `job = headway.job("${NAME}", job_type="${TYPE}", total=100)`,
  ].join('\n'),
  `job.advance(40)\njob.report("Row 40")`,
  'job.complete()',
]

const CODE: Readonly<Record<TourWay, (surroundings: Surroundings) => TourCode>> = { curl, command, node, python }

/** What the reader types to create a job, to report and to complete it, with the address and the token of this page. */
export const tourCode = (way: TourWay, { url, ...rest }: Surroundings): TourCode =>
  CODE[way]({ url: url.replace(/\/+$/, ''), ...rest })

export type TourStep = 'create' | 'report' | 'complete'
export const TOUR_STEPS: readonly TourStep[] = ['create', 'report', 'complete']

/** Which steps a job has come through. */
export const stepsDone = (
  job: { status: string; processedCount: number; progressPercent: number; message: string | null } | null,
): ReadonlySet<TourStep> => {
  if (job === null) return new Set()
  const isFinished = job.status !== 'pending' && job.status !== 'running'
  const hasReported = isFinished || job.processedCount > 0 || job.progressPercent > 0 || job.message !== null
  return new Set([
    'create' as const,
    ...(hasReported ? (['report'] as const) : []),
    ...(isFinished ? (['complete'] as const) : []),
  ])
}
