/**
 * The words of destinations:
 *
 * - destination: where the messages of a webhook go. Its kind is the platform, and its settings are the address there.
 * - chat: a destination that has one message for each job and attempt, and edits that message in place.
 * - chat message: that one message.
 */

/** `webhook`: a signed POST to an address of the tenant. */
export const DESTINATION_KINDS = ['webhook', 'slack', 'discord', 'telegram', 'matrix', 'teams', 'email'] as const
export type DestinationKind = (typeof DESTINATION_KINDS)[number]

/** The kinds whose message is edited in place. The others post a message for each change. */
export const CHAT_KINDS = ['slack', 'discord', 'telegram', 'matrix'] as const satisfies readonly DestinationKind[]
export type ChatKind = (typeof CHAT_KINDS)[number]

export const isChat = (kind: DestinationKind): kind is ChatKind => (CHAT_KINDS as readonly string[]).includes(kind)

/** The languages in which messages are written. */
export const MESSAGE_LANGUAGES = ['en', 'de', 'fr'] as const
export type MessageLanguage = (typeof MESSAGE_LANGUAGES)[number]

/** All settings that a destination may have; `DESTINATION_SETTINGS` says which of them each kind has. */
export interface DestinationSettings {
  /** Of a bot (Slack, Telegram), or an access token (Matrix). */
  token?: string
  /** Slack: the id of a channel, such as `C0123456789`. */
  channel?: string
  /** The address that Discord or Teams has made for the channel. Who knows it may post there. */
  url?: string
  /** Telegram: the number of a chat, or the `@name` of a public channel. */
  chatId?: string
  /** Matrix: the base URL of the server of the account. */
  homeserver?: string
  /** Matrix: the id of a room, such as `!abc:example.org`. */
  roomId?: string
  /** Addresses that get the mail. */
  to?: string[]
}

export type SettingName = keyof DestinationSettings

/** Settings that are stored encrypted and never answered. */
export const SECRET_SETTINGS = ['token', 'url'] as const satisfies readonly SettingName[]
export type SecretSetting = (typeof SECRET_SETTINGS)[number]

export const isSecretSetting = (name: SettingName): name is SecretSetting =>
  (SECRET_SETTINGS as readonly string[]).includes(name)

/** What an answer shows of the settings. */
export type ShownSettings = Omit<DestinationSettings, SecretSetting>

/** The settings of each kind. All of them are needed. The `url` of a webhook is a field of the webhook itself. */
export const DESTINATION_SETTINGS: Readonly<Record<DestinationKind, readonly SettingName[]>> = {
  webhook: [],
  slack: ['token', 'channel'],
  discord: ['url'],
  telegram: ['token', 'chatId'],
  matrix: ['homeserver', 'token', 'roomId'],
  teams: ['url'],
  email: ['to'],
}
