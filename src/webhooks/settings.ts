import {
  DESTINATION_SETTINGS,
  isChat,
  isSecretSetting,
  type DestinationKind,
  type DestinationSettings,
  type SettingName,
  type ShownSettings,
} from '../contract/destinations.ts'
import { HeadwayError, type FieldError } from '../contract/errors.ts'
import { LIFECYCLES, type Lifecycle } from '../contract/states.ts'
import type { WebhookFields } from '../contract/webhook.ts'
import { hostOf, isRefusedLiteral, type Addresses } from './addresses.ts'

export interface SettingRules {
  addresses: Addresses
  /** Whether destinations may use plain HTTP. */
  takesPlainHttp: boolean
  /** The origin of Discord. */
  discordOrigin: string
  /** Whether there is a key for secrets. */
  canSeal: boolean
  /** Whether there is a server for mail. */
  hasMail: boolean
}

/** What a webhook of each kind is told where its owner does not say. */
interface Defaults {
  events: Lifecycle[]
  progressIntervalSeconds: number | null
}

/** A mail for every start would be too much: how a job ended, and when somebody should look. */
const WORTH_A_MESSAGE: Lifecycle[] = ['completed', 'failed', 'cancelled', 'stalled', 'at_risk', 'overdue']
const CHAT_INTERVAL_SECONDS = 5

export const defaultsOf = (kind: DestinationKind): Defaults => {
  if (isChat(kind)) return { events: [...LIFECYCLES], progressIntervalSeconds: CHAT_INTERVAL_SECONDS }
  if (kind === 'webhook') return { events: [...LIFECYCLES], progressIntervalSeconds: null }
  return { events: [...WORTH_A_MESSAGE], progressIntervalSeconds: null }
}

const refuse = (errors: FieldError[]): void => {
  if (errors.length === 0) return
  const [first] = errors
  throw new HeadwayError('validation_failed', `${first?.path ?? ''} ${first?.message ?? ''}.`, { errors })
}

/** Hosts under which Discord gives addresses of webhooks, beside its own. */
const DISCORD_HOSTS = new Set(['discord.com', 'discordapp.com', 'ptb.discord.com', 'canary.discord.com'])
const DISCORD_PATH = /^\/api\/(?:v\d+\/)?webhooks\/\d+\/[\w-]+\/?$/
const TELEGRAM_TOKEN = /^\d+:[\w-]+$/

/** What is wrong with the form of a setting; null: nothing. */
const wrongForm = (kind: DestinationKind, name: SettingName, value: string, discordOrigin: string): string | null => {
  if (kind === 'telegram' && name === 'token' && !TELEGRAM_TOKEN.test(value))
    return 'must be a token such as 123456:ABC-DEF'
  if (kind === 'matrix' && name === 'roomId' && !value.startsWith('!'))
    return 'must be the id of a room, such as !abc:example.org'
  if (name === 'homeserver' && new URL(value).search !== '') return 'must have no query'
  if (kind === 'discord' && name === 'url') {
    const { origin, protocol, hostname, pathname } = new URL(value)
    const isDiscord = origin === discordOrigin || (protocol === 'https:' && DISCORD_HOSTS.has(hostname))
    if (!isDiscord || !DISCORD_PATH.test(pathname))
      return 'must be the address of a webhook, such as https://discord.com/api/webhooks/1/a'
  }
  return null
}

/** The rules for what the owner of a webhook sets. All raise `HeadwayError`. */
export const createSettingRules = (rules: SettingRules) => {
  /** What is wrong with an address that is known before anything is sent; all others are checked at each connection. */
  const wrongAddress = (text: string): string | null => {
    const url = new URL(text)
    if (url.protocol === 'http:' && !rules.takesPlainHttp)
      return 'must begin with https: plain HTTP is for addresses of WEBHOOK_ALLOWED_NETWORKS'
    if (isRefusedLiteral(hostOf(url), rules.addresses.isAllowed))
      return 'must not lead to a private address, unless WEBHOOK_ALLOWED_NETWORKS has it'
    return null
  }

  /** Refuses settings that are not those of the kind. `hasSecrets`: secrets that are left out are stored already. */
  const refuseBadSettings = (kind: DestinationKind, settings: DestinationSettings, hasSecrets: boolean): void => {
    const known = DESTINATION_SETTINGS[kind]
    const errors: FieldError[] = []
    const complain = (name: string, message: string) => errors.push({ path: `settings.${name}`, message })
    for (const name of Object.keys(settings) as SettingName[]) {
      const value = settings[name]
      if (!known.includes(name)) complain(name, `is no setting of ${kind}`)
      else if (typeof value === 'string') {
        const wrong =
          wrongForm(kind, name, value, rules.discordOrigin) ??
          (name === 'url' || name === 'homeserver' ? wrongAddress(value) : null)
        if (wrong !== null) complain(name, wrong)
      }
    }
    for (const name of known) {
      if (settings[name] === undefined && !(hasSecrets && isSecretSetting(name)))
        complain(name, `is missing: ${kind} needs it`)
    }
    refuse(errors)
  }

  /** Refuses fields that have no meaning for the kind. */
  const refuseBadFields = (kind: DestinationKind, fields: Partial<WebhookFields>): void => {
    const errors: FieldError[] = []
    const { url, topLevel, progressIntervalSeconds: interval } = fields
    if (kind === 'webhook' && url != null) {
      const wrong = wrongAddress(url)
      if (wrong !== null) errors.push({ path: 'url', message: wrong })
    }
    if (kind !== 'webhook' && url != null) errors.push({ path: 'url', message: `is no field of ${kind}: see settings` })
    if (isChat(kind) && topLevel === false) {
      errors.push({ path: 'topLevel', message: 'must be true: a batch has one message, which tells of its partitions' })
    }
    if ((kind === 'teams' || kind === 'email') && interval != null) {
      errors.push({ path: 'progressIntervalSeconds', message: `must be null: ${kind} cannot edit messages` })
    }
    refuse(errors)
  }

  /** Refuses a kind for which the service lacks a setting. */
  const refuseUnavailable = (kind: DestinationKind): void => {
    if (DESTINATION_SETTINGS[kind].some(isSecretSetting) && !rules.canSeal) {
      throw new HeadwayError(
        'destination_unavailable',
        `The secrets of ${kind} are only stored encrypted: start the service with ENCRYPTION_KEYS.`,
      )
    }
    if (kind === 'email' && !rules.hasMail) {
      throw new HeadwayError(
        'destination_unavailable',
        'The service sends no mail: start it with SMTP_URL and MAIL_FROM.',
      )
    }
  }

  return { refuseBadSettings, refuseBadFields, refuseUnavailable }
}

export type CheckedSettings = ReturnType<typeof createSettingRules>

/** The settings that are answered, and those that are not. */
export const splitSettings = (settings: DestinationSettings) => {
  const entries = Object.entries(settings) as [SettingName, DestinationSettings[SettingName]][]
  return {
    shown: Object.fromEntries(entries.filter(([name]) => !isSecretSetting(name))) as ShownSettings,
    secrets: Object.fromEntries(entries.filter(([name]) => isSecretSetting(name))) as DestinationSettings,
  }
}
