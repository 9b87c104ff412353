/** Every refusal of Headway, by its stable code. Callers branch on the code; the detail is for people. */
export type ErrorCode =
  | 'validation_failed'
  | 'unauthenticated'
  | 'forbidden'
  | 'job_not_found'
  | 'webhook_not_found'
  | 'delivery_not_found'
  | 'badge_not_found'
  | 'route_not_found'
  | 'method_not_allowed'
  | 'payload_too_large'
  | 'unsupported_media_type'
  | 'misdirected_request'
  | 'already_finished'
  | 'not_finished'
  | 'not_retryable'
  | 'not_cancellable'
  | 'superseded'
  | 'is_batch'
  | 'too_many_workers'
  | 'too_many_streams'
  | 'too_much_in_flight'
  | 'rate_limited'
  | 'meta_too_large'
  | 'unknown_stage'
  | 'invalid_stages'
  | 'invalid_partition'
  | 'is_partition'
  | 'parent_not_found'
  | 'parent_finished'
  | 'idempotency_key_reused'
  | 'webhook_disabled'
  | 'destination_unavailable'
  | 'too_many_webhooks'
  | 'too_many_badges'
  | 'overloaded'
  | 'shutting_down'
  | 'database_unavailable'
  | 'keys_unavailable'
  | 'outcome_unknown'
  | 'not_acceptable'
  | 'internal_error'

export interface FieldError {
  /** The field: `processedCount`, `heartbeats[3].workerId`, or empty for the body as a whole. */
  path: string
  message: string
}

export interface ErrorDetails {
  /** Every bad field of a request. */
  errors?: FieldError[]
  /** With `already_finished`: the status of the job. */
  jobStatus?: string
  /** With /readyz: why the process is not ready. */
  reason?: string
  /** How long the caller should wait before it tries again, in seconds. */
  retryAfterSeconds?: number
}

/** A refusal with a stable code. `message` tells the caller what to do about it. */
export class HeadwayError extends Error {
  override readonly name = 'HeadwayError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, { cause, ...details }: ErrorDetails & { cause?: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = details
  }
}
