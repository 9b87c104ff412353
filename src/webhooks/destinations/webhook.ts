import type { Request } from '../request.ts'
import type { Seal } from '../seal.ts'
import { resultsOf, type Send } from '../send.ts'
import { signedHeaders } from '../signature.ts'

export interface WebhookSendOptions {
  request: Request
  seal: Seal
  userAgent: string
  random: () => number
}

/** The receiver asks for a pause (RFC 6585, section 4; RFC 9110, section 15.6.4). */
const asksForPause = (status: number): boolean => status === 429 || status === 503

/** Sends a message as it is, signed, to the webhook's address. */
export const createWebhookSend =
  ({ request, seal, userAgent, random }: WebhookSendOptions): Send =>
  async (delivery, signal) => {
    const { messageId: id, body, url, webhookId } = delivery
    const results = resultsOf(delivery, random)
    const secrets = delivery.secrets.map(secret => seal.open(secret, { webhookId, column: 'secret' }))
    const headers = {
      'content-type': 'application/json',
      'user-agent': userAgent,
      ...signedHeaders({ id, body, secrets }, new Date()),
    }
    const answer = await request({ method: 'POST', url: url ?? '', headers, body }, signal)
    if (answer.status === null) return results.unanswered(answer)
    const { status, retryAfterSeconds } = answer
    if (status >= 200 && status < 300) return results.delivered(status)
    if (status === 410) return results.gone(status, 'The receiver is gone: the webhook was disabled')
    const error = status >= 300 && status < 400 ? 'Redirects are not followed' : 'The receiver did not take it'
    return results.failed(status, error, { pauseSeconds: asksForPause(status) ? (retryAfterSeconds ?? 0) : 0 })
  }
