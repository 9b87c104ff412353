/** A committed change of one job, as it is announced. Readers fetch the job by its id. */
export interface JobChange {
  tenantId: string
  jobId: string
  revision: number
  /** A lifecycle change is sent at once; progress at most once per interval and job. */
  lifecycle: boolean
  /** For the log, if they are known: the job's type, the kind of change, and whether the sweeper made it. */
  jobType?: string
  event?: string | null
  isSwept?: boolean
  /** A worker made the change in SQL, and no process has logged and counted it yet. */
  isUntold?: boolean
}
