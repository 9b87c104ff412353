/** Below it are all routes of the API; `/healthz`, `/readyz`, `/metrics` and pages are not. */
export const BASE_PATH = '/api/progress'

/** Names of headers that mean something of Headway's own, as Node has them: in lower case. */
export const HEADER = {
  /** With `POST /jobs`: the same key makes the same job once. */
  idempotencyKey: 'idempotency-key',
  /** With the stream: where the reader goes on. */
  lastEventId: 'last-event-id',
  requestId: 'x-request-id',
  /** For how long an answer could have been held (RFC 7240). */
  preferenceApplied: 'preference-applied',
  webhookId: 'webhook-id',
  webhookTimestamp: 'webhook-timestamp',
  webhookSignature: 'webhook-signature',
} as const
