/** A committed change of one job: what is announced, and no more. Readers fetch the truth by the id. */
export interface JobChange {
  tenantId: string
  jobId: string
  revision: number
  /** A lifecycle change goes out at once; progress at most once per interval and job. */
  lifecycle: boolean
  /** For the log, where it is known: what kind of work it is, which change it was, and whether the sweeper made it. */
  jobType?: string
  event?: string | null
  isSwept?: boolean
  /** A worker made it in SQL: no process has told the log and the metrics of it yet. */
  isUntold?: boolean
}
