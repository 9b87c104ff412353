/** What the demo tells a worker process, and what it hears from it. */

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

/** What a worker has done, or all of them together. */
export interface Result {
  files: number
  bytes: number
  /** Files that could not be read. */
  errors: number
  fingerprint: string
}

/** To the worker that was the last to stop: it ends the job in the name of all. */
export type Ending = { kind: 'complete'; result: Result } | { kind: 'acknowledge-cancel' }

export type ToWorker = Assignment | Ending

/** `done`: all files. `cancelled`: a heartbeat said so. `superseded`: the job has ended without us, or is another's. */
export type Stop = 'done' | 'cancelled' | 'superseded'

export interface Stopped {
  kind: 'stopped'
  why: Stop
  result: Result
}
