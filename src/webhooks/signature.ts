import { HEADER } from '../contract/http.ts'
import { randomBytes } from 'node:crypto'
import { Webhook } from 'standardwebhooks'

const SECRET_BYTES = 32

/** A new secret in the form of the Standard Webhooks libraries: `whsec_` and base64. */
export const newSecret = (): string => `whsec_${randomBytes(SECRET_BYTES).toString('base64')}`

/**
 * The headers with a message's id, its time and its signatures (https://www.standardwebhooks.com). There is one signature for
 * each secret, so that a receiver that knows one of them can check it while the secrets change.
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
