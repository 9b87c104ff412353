/** Why the work should stop. */
export type StopCode =
  /** Somebody asked for it. */
  | 'cancel_requested'
  /** The job has ended without this worker: `jobStatus` says how. */
  | 'already_finished'
  /** The job was retried, and is another worker's now. */
  | 'superseded'

const SENTENCES: Record<StopCode, string> = {
  cancel_requested: 'The job was cancelled.',
  already_finished: 'The job has ended without this worker.',
  superseded: 'The job was retried, and another attempt is under way.',
}

/** What a job's `signal` aborts with. Its name is that of other aborts, so that code which knows those knows this one. */
export class StopError extends Error {
  override readonly name = 'AbortError'
  readonly code: StopCode
  /** With `already_finished`: what the job ended as. */
  readonly jobStatus: string | null

  constructor(code: StopCode, jobStatus: string | null = null) {
    super(jobStatus === null ? SENTENCES[code] : `${SENTENCES[code]} It is ${jobStatus}.`)
    this.code = code
    this.jobStatus = jobStatus
  }
}

/** Whether a refusal is of the job, and not of what a report says of it. */
export const isOfJob = (code: string): boolean => isStopCode(code) || code === 'job_not_found'

export const isStopCode = (code: string): code is StopCode => code !== 'cancel_requested' && code in SENTENCES
