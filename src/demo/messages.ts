/** Messages between the demo and its worker processes. */

export interface Assignment {
  kind: 'assignment'
  url: string
  jobId: string
  attempt: number
  workerId: string
  folder: string
  /** Paths relative to the folder. */
  files: string[]
}

/** The result of one worker, or of all of them together. */
export interface Result {
  files: number
  bytes: number
  /** Files that could not be read. */
  errors: number
  fingerprint: string
}

/** To the worker that stopped last: it ends the job for all. */
export type Ending = { kind: 'complete'; result: Result } | { kind: 'acknowledge-cancel' }

export type ToWorker = Assignment | Ending

/**
 * `done`: all files are hashed. `cancelled`: a heartbeat said so. `superseded`: the job has ended elsewhere, or has another
 * attempt.
 */
export type Stop = 'done' | 'cancelled' | 'superseded'

export interface Stopped {
  kind: 'stopped'
  why: Stop
  result: Result
}
