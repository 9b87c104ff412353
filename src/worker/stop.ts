/** Why the work should stop. */
export type StopCode =
  /** Somebody asked for it. */
  | 'cancel_requested'
  /** The job has ended without this worker; `jobStatus` is its status. */
  | 'already_finished'
  /** The job was retried, and another worker has it now. */
  | 'superseded'

const SENTENCES: Record<StopCode, string> = {
  cancel_requested: 'The job was cancelled.',
  already_finished: 'The job has ended without this worker.',
  superseded: 'The job was retried, and another attempt is under way.',
}

/**
 * The reason with which a job's `signal` aborts. Its name is that of other aborts, so that code which handles those handles
 * this one.
 */
export class StopError extends Error {
  override readonly name = 'AbortError'
  readonly code: StopCode
  /** With `already_finished`: the status of the job. */
  readonly jobStatus: string | null

  constructor(code: StopCode, jobStatus: string | null = null) {
    super(jobStatus === null ? SENTENCES[code] : `${SENTENCES[code]} It is ${jobStatus}.`)
    this.code = code
    this.jobStatus = jobStatus
  }
}

/** Whether a refusal is about the job, and not about the contents of a report. */
export const isOfJob = (code: string): boolean => isStopCode(code) || code === 'job_not_found'

export const isStopCode = (code: string): code is StopCode => code !== 'cancel_requested' && code in SENTENCES
