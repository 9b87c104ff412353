/** What a worker can ask of the service, as far as the suite understands it. */
export type CallKind = 'create' | 'read' | 'start' | 'report' | 'complete' | 'fail' | 'cancelled' | 'other'

/** One report, of a call that may carry several. */
export interface SentReport {
  workerId: string
  body: Record<string, unknown>
}

/** One call of the worker, and what became of it. Times are milliseconds since the scenario began. */
export interface Call {
  at: number
  answeredAt: number | null
  kind: CallKind
  /** Method and path, for people. */
  text: string
  body: Record<string, unknown>
  reports: readonly SentReport[]
  hasToken: boolean
  /** The status of the answer; null: there was none. */
  status: number | null
  /** The code of a refusal. */
  code: string | null
  /** The answer asked for a pause of so many seconds. */
  retryAfterSeconds: number | null
  /** The service has done what was asked, whether or not it could say so. */
  isTaken: boolean
  /** The answer told the worker to stop. */
  asksToStop: boolean
}

const ENDINGS: readonly CallKind[] = ['complete', 'fail', 'cancelled']

/** A call that ends the job. */
export const isEnding = ({ kind }: Pick<Call, 'kind'>): boolean => ENDINGS.includes(kind)

/** The calls that report, or end the job: those by which a worker works. */
export const isWork = (call: Pick<Call, 'kind'>): boolean => call.kind === 'report' || isEnding(call)
