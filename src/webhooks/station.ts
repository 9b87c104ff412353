import type { Logger } from 'pino'
import type { JobChange } from '../contract/change.ts'
import type { Database } from '../database/connection.ts'
import type { InTurn } from '../jobs/in-turn.ts'
import { createAddresses } from './addresses.ts'
import { createDeliverer, type Deliverer } from './deliverer.ts'
import { takeTurnsForWebhooks } from './in-turn.ts'
import { createOutbox, type Outbox } from './outbox.ts'
import { createPost } from './post.ts'
import { createWebhookRepository } from './repository.ts'
import { createDeliveryRetention } from './retention.ts'
import type { Webhooks } from './webhook.ts'
import { createWebhooks } from './webhooks.ts'

/** A receiver that has not answered by then has failed. */
const TIMEOUT_MS = 15_000
/** With time to write down what became of an attempt. */
const LEASE_SECONDS = 60
const DELIVERIES_PER_WEBHOOK = 8

export interface WebhookStationOptions {
  database: Database
  inTurn: InTurn
  /** Networks that webhooks may lead to beside public ones. */
  allowedNetworks: Parameters<typeof createAddresses>[0]
  /** How long the records of ended deliveries are kept. */
  recordDays: number
  userAgent: string
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
}

export const createWebhookStation = (options: WebhookStationOptions): WebhookStation => {
  const { database, inTurn, allowedNetworks, recordDays, userAgent, isClosing, log } = options
  const addresses = createAddresses(allowedNetworks)
  const outbox = createOutbox({ database, perWebhook: DELIVERIES_PER_WEBHOOK, leaseSeconds: LEASE_SECONDS })
  const post = createPost({ addresses, timeoutMs: TIMEOUT_MS })
  const deliverer = createDeliverer({ outbox, post, userAgent, log })
  const webhooks = createWebhooks({
    repository: createWebhookRepository(database),
    addresses,
    takesPlainHttp: allowedNetworks.length > 0,
    onChange: () => deliverer.look(),
  })
  return {
    ...deliverer,
    useCases: takeTurnsForWebhooks(webhooks, inTurn),
    changed(changes) {
      if (changes.some(change => change.lifecycle)) deliverer.wake()
    },
    countDeliveries: () => outbox.count(),
    eraseDeliveries: createDeliveryRetention({ outbox, recordDays, log, isClosing }),
  }
}
