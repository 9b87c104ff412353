import { telegramMessage } from '../message/render.ts'
import type { Request } from '../request.ts'
import { jsonOf, pauseOf, wordOf, type Chat, type ChatAnswer, type ChatCall } from './chat.ts'

interface Reference {
  chat_id: number
  message_id: number
}

/** A group takes 20 messages a minute from a bot (https://core.telegram.org/bots/faq). */
const PACE_SECONDS = 3

// Telegram has no codes for these, only descriptions (https://core.telegram.org/bots/api#making-requests).
const MISSING = /message to edit not found|message can't be edited|MESSAGE_ID_INVALID/i
const UNCHANGED = /message is not modified/i

const isId = (value: unknown): value is number => Number.isSafeInteger(value)

const objectOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

/** Bots have no key that makes a post happen once: after a crash between a post and its record, there are two messages. */
export const createTelegram = ({ request, origin }: { request: Request; origin: string }): Chat => {
  const call = async (
    method: 'sendMessage' | 'editMessageText',
    { settings, message, signal }: ChatCall,
    target: Partial<Reference> | { chat_id: string | undefined },
  ): Promise<ChatAnswer> => {
    const answer = await request(
      {
        method: 'POST',
        url: `${origin}/bot${settings.token ?? ''}/${method}`,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...target, ...telegramMessage(message) }),
      },
      signal,
    )
    if (answer.status === null) return { result: 'unanswered', answer }
    const { status, retryAfterSeconds } = answer
    const body = objectOf(jsonOf(answer.text))
    const { chat, message_id } = objectOf(body['result'])
    const { id: chat_id } = objectOf(chat)
    if (status === 200 && isId(chat_id) && isId(message_id))
      return { result: 'sent', status, reference: JSON.stringify({ chat_id, message_id } satisfies Reference) }
    if (status === 429) {
      const wanted = objectOf(body['parameters'])['retry_after']
      return { result: 'limited', status, seconds: pauseOf(typeof wanted === 'number' ? wanted : retryAfterSeconds) }
    }
    const description = wordOf(body['description'])
    if (method === 'editMessageText' && UNCHANGED.test(description))
      return { result: 'sent', status, reference: JSON.stringify(target) }
    if (method === 'editMessageText' && MISSING.test(description)) return { result: 'missing' }
    // 404: the address has no bot, because a token that is not well-formed is a part of it.
    if (status === 401 || status === 404) return { result: 'revoked', status, error: 'Telegram refused the token' }
    return { result: 'refused', status, error: `Telegram did not take it: ${description}` }
  }
  return {
    paceSeconds: PACE_SECONDS,
    post: chatCall => call('sendMessage', chatCall, { chat_id: chatCall.settings.chatId }),
    edit: (reference, chatCall) => call('editMessageText', chatCall, JSON.parse(reference) as Reference),
  }
}
