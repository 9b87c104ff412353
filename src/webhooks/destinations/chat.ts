import type { DestinationSettings } from '../../contract/destinations.ts'
import { TEST_TYPE } from '../../contract/webhook.ts'
import type { ChatMessages } from '../chat-messages.ts'
import { messageOf, testMessageOf, type ChatMessage, type MessageJob } from '../message/message.ts'
import { shortText } from '../message/text.ts'
import type { AttemptResult, ClaimedDelivery } from '../outbox.ts'
import type { RequestResult } from '../request.ts'
import type { Seal } from '../seal.ts'
import { CHAT_BACKOFF, openSettings, resultsOf, type Send } from '../send.ts'

/** The result of a call to a platform. */
export type ChatAnswer =
  /** `reference` names the message for later edits. `pauseSeconds`: the platform said how long it takes no further calls. */
  | { result: 'sent'; status: number; reference: string; pauseSeconds?: number }
  /** Only of edits: the message does not exist any more, or cannot be edited any more. */
  | { result: 'missing' }
  | { result: 'limited'; status: number; seconds: number }
  | { result: 'refused'; status: number; error: string }
  /** The secret is not valid any more: trying again is of no use. */
  | { result: 'revoked'; status: number; error: string }
  | { result: 'unanswered'; answer: Extract<RequestResult, { status: null }> }

export interface ChatCall {
  settings: DestinationSettings
  message: ChatMessage
  /** The same for the same call, also after a crash: platforms that know such keys take the call once. */
  key: string
  signal: AbortSignal
}

/** One platform. */
export interface Chat {
  /** The time between two calls that keeps below the platform's published limit. */
  paceSeconds: number
  post: (call: ChatCall) => Promise<ChatAnswer>
  edit: (reference: string, call: ChatCall) => Promise<ChatAnswer>
}

export interface ChatSendOptions {
  chat: Chat
  messages: ChatMessages
  seal: Seal
  publicUrl: string | null
  random: () => number
}

/** Without a time of its own, a platform that asks for a pause gets this one. */
const DEFAULT_PAUSE_SECONDS = 30
const LONGEST_PAUSE_SECONDS = 3_600

/** A wait that a platform asks for, at most an hour; it is not believed to want none. */
export const pauseOf = (seconds: number | null | undefined): number =>
  typeof seconds === 'number' && seconds > 0 ? Math.min(seconds, LONGEST_PAUSE_SECONDS) : DEFAULT_PAUSE_SECONDS

/** A JSON object in an answer; null: it is none, or it was cut. */
export const jsonOf = (text: string): Record<string, unknown> | null => {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

const MAX_WORD = 200

/** A word of a platform for what is wrong, for the record. A server may send anything, also what Postgres cannot store. */
export const wordOf = (value: unknown): string => {
  const word = typeof value === 'string' ? shortText(value, MAX_WORD) : ''
  return word === '' ? 'no reason given' : word
}

/** What a platform calls a message; null: not a name, but anything that a server may send. */
export const nameOf = (value: unknown): string | null =>
  typeof value === 'string' && /^[\x21-\x7e]{1,255}$/.test(value) ? value : null

const resultOf = (answer: ChatAnswer, delivery: ClaimedDelivery, { chat, random }: ChatSendOptions): AttemptResult => {
  const results = resultsOf(delivery, random)
  const more = { ...CHAT_BACKOFF, pauseSeconds: chat.paceSeconds }
  switch (answer.result) {
    case 'sent':
      return results.delivered(answer.status, { pauseSeconds: Math.max(chat.paceSeconds, answer.pauseSeconds ?? 0) })
    case 'limited':
      return results.held(answer.status, 'The platform asked for a pause', Math.max(chat.paceSeconds, answer.seconds))
    case 'missing':
      return results.failed(null, 'The message is gone, and could not be posted again', more)
    case 'refused':
      return results.failed(answer.status, answer.error, more)
    case 'revoked':
      return results.gone(answer.status, `${answer.error}: the destination was disabled`)
    case 'unanswered':
      return results.unanswered(answer.answer, more)
  }
}

/**
 * Keeps one message for each job and attempt: posts it, edits it afterwards, and posts it again where it was deleted. A state that
 * is not newer than the shown one is not sent.
 */
export const createChatSend = (options: ChatSendOptions): Send => {
  const { chat, messages, seal, publicUrl } = options
  return async (delivery, signal) => {
    const { webhookId, language, messageId } = delivery
    const settings = openSettings(delivery, seal)
    const context = { language, publicUrl, nowMs: Date.now() }
    if (delivery.type === TEST_TYPE) {
      const call = { settings, message: testMessageOf(context), key: `headway-${messageId}`, signal }
      return resultOf(await chat.post(call), delivery, options)
    }
    const { data: job } = JSON.parse(delivery.body) as { data: MessageJob }
    const place = { webhookId, jobId: job.id, jobAttempt: job.attempt }
    const known = await messages.find(place)
    if (known && known.revision >= job.revision) return resultsOf(delivery, options.random).delivered(null)

    const message = messageOf(job, context)
    const name = `headway-${webhookId}-${job.id}-${job.attempt}`
    let posts = known?.posts ?? 0
    let answer: ChatAnswer = known
      ? await chat.edit(known.reference, { settings, message, key: `${name}-edit-${posts}-${job.revision}`, signal })
      : { result: 'missing' }
    // A post may be the one of before a crash, and deleted since.
    for (let tries = 0; answer.result === 'missing' && tries < 2; tries++) {
      posts += 1
      answer = await chat.post({ settings, message, key: `${name}-post-${posts}`, signal })
    }
    if (answer.result === 'sent')
      await messages.record(place, { reference: answer.reference, posts, revision: job.revision })
    return resultOf(answer, delivery, options)
  }
}
