import type { Logger } from 'pino'
import type { JobChange } from '../contract/change.ts'
import type { Database } from '../database/connection.ts'
import type { InTurn } from '../jobs/in-turn.ts'
import { createAddresses } from './addresses.ts'
import { answerTests } from './answer-tests.ts'
import { createDeliverer, type Deliverer } from './deliverer.ts'
import { createKinds, type KindOptions } from './destinations/kinds.ts'
import { takeTurnsForWebhooks } from './in-turn.ts'
import { createOutbox, type Outbox } from './outbox.ts'
import { createWebhookRepository } from './repository.ts'
import { createReseal } from './reseal.ts'
import { createDeliveryRetention } from './retention.ts'
import { createSeal } from './seal.ts'
import { createSend } from './send.ts'
import { createSettingRules } from './settings.ts'
import type { Webhooks } from './webhook.ts'
import { createWebhooks } from './webhooks.ts'

/** With time to write down what became of an attempt. */
const LEASE_SECONDS = 60
const DELIVERIES_PER_WEBHOOK = 8

export interface WebhookStationOptions extends Pick<KindOptions, 'mail' | 'platforms' | 'publicUrl' | 'userAgent'> {
  database: Database
  inTurn: InTurn
  /** Networks that webhooks may lead to beside public ones. */
  allowedNetworks: Parameters<typeof createAddresses>[0]
  /** How long the records of ended deliveries are kept. */
  recordDays: number
  /** Keys of 32 bytes for secrets. The first one encrypts, and all of them decrypt. */
  encryptionKeys: readonly Buffer[]
  isClosing: () => boolean
  log: Logger
}

/** The station from a committed change to the receivers of webhooks. */
export interface WebhookStation extends Pick<Deliverer, 'start' | 'stats' | 'close'> {
  /** The use cases, each in its caller's turn. */
  useCases: Webhooks
  /** Jobs changed. The process that made a change also sends its messages, as a rule: the others need not hear of it. */
  changed(changes: readonly JobChange[]): void
  countDeliveries: Outbox['count']
  /** Ends deliveries that have waited for too long, and erases old records. */
  eraseDeliveries: () => Promise<void>
  /** Encrypts the secrets that are not encrypted, or not with the first key. */
  resealSecrets: () => Promise<void>
}

export const createWebhookStation = (options: WebhookStationOptions): WebhookStation => {
  const { database, inTurn, allowedNetworks, recordDays, encryptionKeys, isClosing, log } = options
  const { mail, platforms, publicUrl, userAgent } = options
  const addresses = createAddresses(allowedNetworks)
  const seal = createSeal(encryptionKeys)
  const repository = createWebhookRepository(database)
  const outbox = createOutbox({ database, perWebhook: DELIVERIES_PER_WEBHOOK, leaseSeconds: LEASE_SECONDS })
  const kinds = createKinds({
    database,
    addresses,
    seal,
    mail,
    platforms,
    publicUrl,
    userAgent,
    random: Math.random,
  })
  const deliverer = createDeliverer({ outbox, send: createSend(kinds, Math.random), log })
  const webhooks = createWebhooks({
    repository,
    rules: createSettingRules({
      addresses,
      takesPlainHttp: allowedNetworks.length > 0,
      discordOrigin: platforms.discord,
      canSeal: seal.canSeal,
      hasMail: mail !== null,
    }),
    seal,
    onChange: () => deliverer.look(),
  })
  return {
    ...deliverer,
    useCases: answerTests(takeTurnsForWebhooks(webhooks, inTurn), isClosing),
    changed(changes) {
      if (changes.some(change => change.lifecycle)) deliverer.wake()
    },
    countDeliveries: () => outbox.count(),
    eraseDeliveries: createDeliveryRetention({ outbox, recordDays, log, isClosing }),
    resealSecrets: createReseal({ repository, seal, isClosing, log }),
  }
}
