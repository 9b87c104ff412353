import type { ServerResponse } from 'node:http'
import type { FeedFilter } from './change.ts'

export type StreamFormat = 'sse' | 'ndjson'

export interface StreamRequest {
  filter: FeedFilter
  format: StreamFormat
  /** As the client sent it; a malformed one counts as none. */
  lastEventId: string | null
  /** Set on `GET /jobs/:id/stream`: the stream ends once this job has finished for good. */
  untilFinishedJobId: string | null
  /** The stream ends no later (milliseconds since 1970); null: only its lifetime ends it. */
  expiresAtMs: number | null
}

/** The live side of the service, as the routes see it. */
export interface Live {
  /**
   * Reserves a place and reads what the first snapshot needs, before a byte is written: what fails here is an ordinary problem
   * (`too_many_streams`, `database_unavailable`, `shutting_down`). Then call exactly one of `start` and `abandon`.
   */
  open(request: StreamRequest): Promise<OpenStream>
  /**
   * Resolves with true when the job has a revision other than `revision` or may have one, with false when `signal` aborts.
   * Register first, read second: call it before reading the job, and await it after.
   */
  waitForChange(jobId: string, revision: number, signal: AbortSignal): Promise<boolean>
  /** The listener hears its own pings. A deaf one is degraded, not down: reconcile replaces it. */
  isListening(): boolean
  openStreams(): number
  start(): Promise<void>
  /** Ends every stream within a second, with spread `retry:`, and stops the listener. */
  close(): Promise<void>
}

export interface OpenStream {
  /** The job of `untilFinishedJobId` has finished and the client has already seen it: answer 204, so that an EventSource stops. */
  alreadySeen: boolean
  /** Takes over a response whose headers have been sent: writes the snapshot, then every change, until the client leaves. */
  start(response: ServerResponse): void
  abandon(): void
}
