import { HEADER } from '../contract/http.ts'
import { randomBytes } from 'node:crypto'
import { Webhook } from 'standardwebhooks'

const SECRET_BYTES = 32

/** A new secret as the Standard Webhooks libraries take it: `whsec_` and base64. */
export const newSecret = (): string => `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`

/**
 * The headers that say what a message is, and who sent it (https://www.standardwebhooks.com): one signature by each secret,
 * so that a receiver that knows one of them can check it while they change.
 */
export const signedHeaders = (
  message: { id: string; body: string; secrets: readonly string[] },
  at: Date,
): Record<string, string> => ({
  [HEADER.webhookId]: message.id,
  [HEADER.webhookTimestamp]: String(Math.floor(at.getTime() / 1000)),
  [HEADER.webhookSignature]: message.secrets
    .map(secret => new Webhook(secret).sign(message.id, at, message.body))
    .join(' '),
})
