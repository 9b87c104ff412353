/** The prefix of all routes of the API. `/healthz`, `/readyz`, `/metrics` and the pages have no prefix. */
export const BASE_PATH = '/api/progress'

/** Names of headers that have a meaning of Headway's own, in lower case as in Node. */
export const HEADER = {
  /** For `POST /jobs`: the same key creates a job only once. */
  idempotencyKey: 'idempotency-key',
  /** For streams: where the reader resumes. */
  lastEventId: 'last-event-id',
  requestId: 'x-request-id',
  /** How long an answer could have been held (RFC 7240). */
  preferenceApplied: 'preference-applied',
  webhookId: 'webhook-id',
  webhookTimestamp: 'webhook-timestamp',
  webhookSignature: 'webhook-signature',
} as const
