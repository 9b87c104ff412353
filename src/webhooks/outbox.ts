import type { DestinationKind, MessageLanguage, ShownSettings } from '../contract/destinations.ts'
import type { Database } from '../database/connection.ts'
import { FUNCTIONS } from '../database/functions.ts'

/** A delivery that this process must attempt now. */
export interface ClaimedDelivery {
  id: number
  claim: string
  messageId: string
  type: string
  body: string
  /** This attempt included. */
  attempts: number
  webhookId: string
  tenantId: string
  kind: DestinationKind
  /** Names the destination of this attempt, so that its result is not counted for another one. */
  destination: string
  /** Of the kind `webhook`. */
  url: string | null
  settings: ShownSettings
  /** As they are stored; null: the kind has no secrets in its settings. */
  sealedSettings: string | null
  language: MessageLanguage
  /** Those that sign, as they are stored, the newest first. */
  secrets: string[]
}

export interface AttemptResult {
  /** `held`: the platform wants to be called less often. Nothing was sent, and nothing has failed. */
  outcome: 'delivered' | 'failed' | 'gone' | 'released' | 'held'
  responseStatus: number | null
  error: string | null
  /** Until the next attempt of this delivery. */
  delaySeconds: number
  /** Until the next attempt of any delivery to this receiver; 0: no pause. */
  pauseSeconds: number
}

/** How many attempts this process may have in flight. */
export interface Places {
  free: number
  /** The used places, by tenant. */
  taken: ReadonlyMap<string, number>
}

export interface Outbox {
  /**
   * Makes deliveries of the messages that changes of jobs have queued. `dropped` are those that were left out because too many
   * wait.
   */
  queueDeliveries(): Promise<{ more: boolean; dropped: number }>
  /** Claims deliveries that are due; functions/webhooks.sql describes the turns and the limits. */
  claim(places: Places): Promise<ClaimedDelivery[]>
  /** Answers the delivery's status; null when the claim had ended and another process has the delivery. */
  finish(delivery: ClaimedDelivery, result: AttemptResult): Promise<'waiting' | 'delivered' | 'dead' | null>
  /**
   * Queues messages about progress that are due, and answers whether there may be anything to send, which means any webhook.
   */
  queueProgress(): Promise<boolean>
  /** Erases old records, a batch at a time; answers whether there may be more. */
  erase(recordDays: number): Promise<boolean>
  /**
   * How many deliveries wait, and for how long the oldest due one has waited. Those to chats wait for their turn, and count only
   * among the former.
   */
  count(): Promise<{ waiting: number; overdueSeconds: number }>
}

export interface OutboxOptions {
  database: Database
  /** Deliveries to one receiver that may be in flight at the same time. */
  perWebhook: number
  /** Longer than an attempt takes: after it, the process counts as dead. */
  leaseSeconds: number
  /** Deliveries of one tenant that may wait; further ones are left out. */
  mostWaiting?: number
}

/**
 * For a tenant whose receivers are all away: an hour of 28 messages a second, or three days of one message in three seconds.
 */
export const MOST_WAITING = 100_000

/** Rows per statement, so that locks are short however many messages wait. */
const QUEUED_AT_ONCE = 2_000
/** Messages per statement; each makes deliveries for as many webhooks as a tenant may have. */
const MESSAGES_AT_ONCE = 40
/** How long the statement that compares progress may run: other replicas, and the pool, wait for it. */
const PROGRESS_PATIENCE_SECONDS = 0.5
const ERASED_AT_ONCE = 1_000

export const createOutbox = ({
  database,
  perWebhook,
  leaseSeconds,
  mostWaiting = MOST_WAITING,
}: OutboxOptions): Outbox => ({
  async queueDeliveries() {
    const rows = await database.query<{ more: boolean; dropped: number }>(
      'headway_queue_deliveries',
      `SELECT * FROM ${FUNCTIONS}.queue_deliveries($1, $2)`,
      [MESSAGES_AT_ONCE, mostWaiting],
    )
    return rows[0] ?? { more: false, dropped: 0 }
  },

  async claim({ free, taken }) {
    const rows = await database.query<{
      id: number
      claim: string
      message_id: string
      type: string
      body: string
      attempts: number
      webhook_id: string
      tenant_id: string
      kind: DestinationKind
      destination: string
      url: string | null
      settings: ShownSettings
      sealed_settings: string | null
      language: MessageLanguage
      secrets: string[]
    }>('headway_claim_deliveries', `SELECT * FROM ${FUNCTIONS}.claim_deliveries($1, $2, $3, $4, $5)`, [
      free,
      [...taken.keys()],
      [...taken.values()],
      perWebhook,
      leaseSeconds,
    ])
    return rows.map(row => ({
      id: row.id,
      claim: row.claim,
      messageId: row.message_id,
      type: row.type,
      body: row.body,
      attempts: row.attempts,
      webhookId: row.webhook_id,
      tenantId: row.tenant_id,
      kind: row.kind,
      destination: row.destination,
      url: row.url,
      settings: row.settings,
      sealedSettings: row.sealed_settings,
      language: row.language,
      secrets: row.secrets,
    }))
  },

  async finish({ id, claim, destination }, { outcome, responseStatus, error, delaySeconds, pauseSeconds }) {
    const rows = await database.query<{ status: 'waiting' | 'delivered' | 'dead' }>(
      'headway_finish_delivery',
      `SELECT ${FUNCTIONS}.finish_delivery($1, $2, $3, $4, $5, $6, $7, $8) AS status`,
      [id, claim, destination, outcome, responseStatus, error, delaySeconds, pauseSeconds],
    )
    return rows[0]?.status ?? null
  },

  async queueProgress() {
    const rows = await database.query<{ any: boolean }>(
      'headway_queue_progress',
      `SELECT ${FUNCTIONS}.queue_progress($1, $2, $3) AS any`,
      [QUEUED_AT_ONCE, mostWaiting, PROGRESS_PATIENCE_SECONDS],
    )
    return rows[0]?.any ?? false
  },

  async erase(recordDays) {
    const rows = await database.query<{ changed: number }>(
      'headway_erase_deliveries',
      `SELECT ${FUNCTIONS}.erase_deliveries($1, $2) AS changed`,
      [recordDays, ERASED_AT_ONCE],
    )
    return (rows[0]?.changed ?? 0) >= ERASED_AT_ONCE
  },

  async count() {
    const rows = await database.query<{ waiting: number; overdue: number | null }>(
      'headway_count_deliveries',
      `SELECT d.waiting + m.waiting AS waiting, greatest(d.overdue, m.overdue) AS overdue
       FROM (
         SELECT count(*) AS waiting, max(${FUNCTIONS}.seconds(now(), d.due_at)) FILTER (
           WHERE w.enabled AND d.claim IS NULL AND d.attempts = 0 AND w.consecutive_failures = 0
             AND NOT ${FUNCTIONS}.is_chat(w.kind)) AS overdue
         FROM public.webhook_deliveries d JOIN public.webhooks w ON w.id = d.webhook_id WHERE d.status = 'waiting'
       ) d CROSS JOIN (
         SELECT count(*) AS waiting, max(${FUNCTIONS}.seconds(now(), created_at)) AS overdue FROM public.webhook_messages
       ) m`,
      [],
    )
    return { waiting: rows[0]?.waiting ?? 0, overdueSeconds: Math.max(0, rows[0]?.overdue ?? 0) }
  },
})
