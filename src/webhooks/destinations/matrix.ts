import { matrixContent } from '../message/render.ts'
import type { Answered, Request, RequestResult } from '../request.ts'
import { jsonOf, nameOf, pauseOf, wordOf, type Chat, type ChatAnswer, type ChatCall } from './chat.ts'

/** Synapse by default takes 0.2 messages a second of an account (`rc_message`). */
const PACE_SECONDS = 5

/** The token is not valid any more (https://spec.matrix.org/latest/client-server-api/#common-error-codes). */
const REVOKED = new Set(['M_UNKNOWN_TOKEN', 'M_MISSING_TOKEN', 'M_USER_DEACTIVATED'])

/** Why a call was not taken; `isEvent`: it asked for a message. */
const refusalOf = (answer: Exclude<RequestResult, { status: null }>, isEvent = false): ChatAnswer => {
  const { status, retryAfterSeconds } = answer
  const body = jsonOf(answer.text)
  const code = wordOf(body?.['errcode'])
  if (status === 429) {
    // The header has taken the place of the field (Matrix 1.10).
    const wanted = body?.['retry_after_ms']
    return {
      result: 'limited',
      status,
      seconds: pauseOf(retryAfterSeconds ?? (typeof wanted === 'number' ? wanted / 1000 : null)),
    }
  }
  if (isEvent && status === 404) return { result: 'missing' }
  if (REVOKED.has(code)) return { result: 'revoked', status, error: `The homeserver refused the token (${code})` }
  return { result: 'refused', status, error: `The homeserver did not take it: ${code}` }
}

/**
 * A transaction id makes a post happen once, also after a crash: the server answers a repeated one with the first event
 * (https://spec.matrix.org/latest/client-server-api/#transaction-identifiers). That event may show an older state, so a posted event
 * is read, and edited if it says something else. Servers accept edits of deleted events, so an event is read before it is edited.
 */
export const createMatrix = ({ request }: { request: Request }): Chat => {
  const call = (method: 'GET' | 'PUT', { settings, signal }: ChatCall, path: string, body = '') =>
    request(
      {
        method,
        url: `${(settings.homeserver ?? '').replace(/\/+$/, '')}/_matrix/client/v3/rooms/${encodeURIComponent(settings.roomId ?? '')}${path}`,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${settings.token ?? ''}` },
        body,
      },
      signal,
    )

  const send = async (chatCall: ChatCall, key: string, content: object): Promise<Answered | ChatAnswer> => {
    const path = `/send/m.room.message/${encodeURIComponent(key)}`
    const answer = await call('PUT', chatCall, path, JSON.stringify(content))
    if (answer.status === null) return { result: 'unanswered', answer }
    return answer.status === 200 ? answer : refusalOf(answer)
  }

  /** The content of an event; a ChatAnswer where it has none any more, or cannot be read. */
  const read = async (chatCall: ChatCall, eventId: string): Promise<{ body: unknown } | ChatAnswer> => {
    const answer = await call('GET', chatCall, `/event/${encodeURIComponent(eventId)}`)
    if (answer.status === null) return { result: 'unanswered', answer }
    if (answer.status !== 200) return refusalOf(answer, true)
    const content = jsonOf(answer.text)?.['content'] as { body?: unknown } | undefined
    // A deleted (redacted) event keeps its id and loses its content.
    return content?.body === undefined ? { result: 'missing' } : { body: content.body }
  }

  const replace = async (eventId: string, chatCall: ChatCall, key: string): Promise<ChatAnswer> => {
    const content = matrixContent(chatCall.message)
    const sent = await send(chatCall, key, {
      ...content,
      // For clients that know no edits.
      body: `* ${content.body}`,
      formatted_body: `* ${content.formatted_body}`,
      'm.new_content': content,
      'm.relates_to': { rel_type: 'm.replace', event_id: eventId },
    })
    return 'result' in sent ? sent : { result: 'sent', status: sent.status, reference: eventId }
  }

  return {
    paceSeconds: PACE_SECONDS,
    async post(chatCall) {
      const content = matrixContent(chatCall.message)
      const sent = await send(chatCall, chatCall.key, content)
      if ('result' in sent) return sent
      const eventId = nameOf(jsonOf(sent.text)?.['event_id'])
      if (eventId === null)
        return { result: 'refused', status: sent.status, error: 'The homeserver gave the message no id' }
      const posted = await read(chatCall, eventId)
      if ('result' in posted) return posted
      if (posted.body === content.body) return { result: 'sent', status: sent.status, reference: eventId }
      return replace(eventId, chatCall, `${chatCall.key}-edit-${Buffer.from(content.body).length}-${Date.now()}`)
    },
    async edit(eventId, chatCall) {
      const shown = await read(chatCall, eventId)
      return 'result' in shown ? shown : replace(eventId, chatCall, chatCall.key)
    },
  }
}
