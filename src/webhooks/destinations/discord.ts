import { discordMessage } from '../message/render.ts'
import type { Answered, Request } from '../request.ts'
import { jsonOf, nameOf, pauseOf, wordOf, type Chat, type ChatAnswer, type ChatCall } from './chat.ts'

// https://docs.discord.com/developers/topics/opcodes-and-status-codes#json
const UNKNOWN_MESSAGE = 10_008
const UNKNOWN_WEBHOOK = 10_015
const INVALID_WEBHOOK_TOKEN = 50_027

/** A webhook takes 5 calls in 2 seconds, and a channel 30 messages a minute. */
const PACE_SECONDS = 2

/** The time until the next call, if the answer says that there is none left before. */
const exhaustedFor = ({ headers }: Answered): number => {
  const seconds = Number(headers['x-ratelimit-reset-after'])
  return headers['x-ratelimit-remaining'] === '0' && seconds > 0 ? pauseOf(seconds) : 0
}

/** The address of a webhook with a longer path, its query included: a thread is named there. */
const addressOf = (url: string, path: string, query: Record<string, string> = {}): string => {
  const address = new URL(url)
  address.pathname = address.pathname.replace(/\/+$/, '') + path
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value)
  return address.href
}

/** Webhooks have no key that makes a post happen once: after a crash between a post and its record, there are two messages. */
export const createDiscord = ({ request }: { request: Request }): Chat => {
  const call = async (method: 'POST' | 'PATCH', url: string, { message, signal }: ChatCall): Promise<ChatAnswer> => {
    const headers = { 'content-type': 'application/json' }
    const answer = await request({ method, url, headers, body: JSON.stringify(discordMessage(message)) }, signal)
    if (answer.status === null) return { result: 'unanswered', answer }
    const { status, retryAfterSeconds } = answer
    const body = jsonOf(answer.text)
    if (status === 429) {
      // Fractions of a second are in the body only.
      const wanted = typeof body?.['retry_after'] === 'number' ? body['retry_after'] : retryAfterSeconds
      return { result: 'limited', status, seconds: pauseOf(wanted) }
    }
    const id = nameOf(body?.['id'])
    if (status === 200 && id !== null)
      return { result: 'sent', status, reference: id, pauseSeconds: exhaustedFor(answer) }
    const code = body?.['code']
    if (method === 'PATCH' && code === UNKNOWN_MESSAGE) return { result: 'missing' }
    if (code === UNKNOWN_WEBHOOK || code === INVALID_WEBHOOK_TOKEN)
      return { result: 'revoked', status, error: 'Discord does not know the webhook any more' }
    return { result: 'refused', status, error: `Discord did not take it: ${wordOf(body?.['message'])}` }
  }
  return {
    paceSeconds: PACE_SECONDS,
    post: chatCall => call('POST', addressOf(chatCall.settings.url ?? '', '', { wait: 'true' }), chatCall),
    edit: (reference, chatCall) =>
      call('PATCH', addressOf(chatCall.settings.url ?? '', `/messages/${encodeURIComponent(reference)}`), chatCall),
  }
}
