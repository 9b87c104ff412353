/** Why the work should stop. */
export type StopCode =
  /** Somebody asked for it. */
  | 'cancel_requested'
  /** The job has ended without this worker: `jobStatus` says how. */
  | 'already_finished'
  /** The job was retried, and is another worker's now. */
  | 'superseded'
  /** The job has been erased. */
  | 'job_not_found'

const SENTENCES: Record<StopCode, string> = {
  cancel_requested: 'The job was cancelled.',
  already_finished: 'The job has ended without this worker.',
  superseded: 'The job was retried, and another attempt is under way.',
  job_not_found: 'The job does not exist any more.',
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

export const isStopCode = (code: string): code is StopCode => code !== 'cancel_requested' && code in SENTENCES
