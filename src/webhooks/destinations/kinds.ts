import type { DestinationKind } from '../../contract/destinations.ts'
import type { Database } from '../../database/connection.ts'
import type { Addresses } from '../addresses.ts'
import { createChatMessages } from '../chat-messages.ts'
import { createRequest } from '../request.ts'
import type { Seal } from '../seal.ts'
import type { Send } from '../send.ts'
import { createChatSend, type Chat } from './chat.ts'
import { createDiscord } from './discord.ts'
import { createMailSend, type MailSettings } from './email.ts'
import { createMatrix } from './matrix.ts'
import { createSlack } from './slack.ts'
import { createTeamsSend } from './teams.ts'
import { createTelegram } from './telegram.ts'
import { createWebhookSend } from './webhook.ts'

export interface KindOptions {
  database: Database
  addresses: Addresses
  seal: Seal
  mail: MailSettings | null
  /** The origins of the platforms. */
  platforms: { slack: string; discord: string; telegram: string }
  /** The base of links; null: messages have none. */
  publicUrl: string | null
  userAgent: string
  /** From 0 to 1, for jitter. */
  random: () => number
}

/** A receiver that has not answered by then has failed. A post to a chat that only seems to have failed is made a second time. */
const TIMEOUT_MS = 15_000
/**
 * An attempt must end before its lease of a minute does: it makes at most three calls of a platform, an edit and two posts, but six
 * of a homeserver, where events are read as well. There, a second post has no effect.
 */
const MATRIX_TIMEOUT_MS = 8_000

/** Only the status of a receiver's answer is used. */
const LITTLE = { bytes: 16 * 1024, ms: 1_000 }
/** Platforms answer with the whole message. */
const MUCH = { bytes: 256 * 1024, ms: 5_000 }

/** What makes an attempt, for each kind of destination. */
export const createKinds = (options: KindOptions): Readonly<Record<DestinationKind, Send>> => {
  const { database, addresses, seal, mail, platforms, publicUrl, userAgent, random } = options
  const toReceiver = createRequest({ addresses, timeoutMs: TIMEOUT_MS, answer: LITTLE })
  const toPlatform = createRequest({ addresses, timeoutMs: TIMEOUT_MS, answer: MUCH })
  const toHomeserver = createRequest({ addresses, timeoutMs: MATRIX_TIMEOUT_MS, answer: MUCH })
  const messages = createChatMessages(database)
  const sendTo = (chat: Chat): Send => createChatSend({ chat, messages, seal, publicUrl, random })
  return {
    webhook: createWebhookSend({ request: toReceiver, seal, userAgent, random }),
    slack: sendTo(createSlack({ request: toPlatform, origin: platforms.slack })),
    discord: sendTo(createDiscord({ request: toPlatform })),
    telegram: sendTo(createTelegram({ request: toPlatform, origin: platforms.telegram })),
    matrix: sendTo(createMatrix({ request: toHomeserver })),
    teams: createTeamsSend({ request: toReceiver, seal, publicUrl, random }),
    email: createMailSend({ mail, seal, publicUrl, timeoutMs: TIMEOUT_MS, random }),
  }
}
