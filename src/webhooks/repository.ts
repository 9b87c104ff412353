import { and, count, desc, eq, isNull, sql } from '../database/drizzle.ts'
import type { Database } from '../database/connection.ts'
import { functions } from '../database/functions.ts'
import { hasRoom } from '../database/has-room.ts'
import { webhookDeliveries, webhooks } from '../database/schema.ts'
import type { DestinationKind, MessageLanguage, ShownSettings } from '../contract/destinations.ts'
import { LIFECYCLES, type Lifecycle } from '../contract/states.ts'
import type { ListDeliveries } from './webhook.ts'
import type { DeliveryDocument, DeliveryStatus, WebhookDocument, WebhookFields } from '../contract/webhook.ts'

/** The fields of a webhook as they are stored: its secrets may be encrypted. */
export interface StoredFields extends Omit<WebhookFields, 'settings'> {
  settings: ShownSettings
  /** null: the kind has no secrets in its settings. */
  sealedSettings: string | null
}

/** The stored secrets of a webhook. */
export interface StoredSecrets {
  id: string
  /** Empty: the kind signs nothing. */
  secret: string
  previousSecret: string | null
  sealedSettings: string | null
}

type WebhookRow = typeof webhooks.$inferSelect

const LOCK = 52_720_154

/** The shown columns of a delivery, without its body. */
const SHOWN = {
  messageId: webhookDeliveries.messageId,
  webhookId: webhookDeliveries.webhookId,
  type: webhookDeliveries.type,
  jobId: webhookDeliveries.jobId,
  revision: webhookDeliveries.revision,
  status: webhookDeliveries.status,
  attempts: webhookDeliveries.attempts,
  createdAt: webhookDeliveries.createdAt,
  claim: webhookDeliveries.claim,
  dueAt: webhookDeliveries.dueAt,
  attemptedAt: webhookDeliveries.attemptedAt,
  finishedAt: webhookDeliveries.finishedAt,
  responseStatus: webhookDeliveries.responseStatus,
  error: webhookDeliveries.error,
}
type DeliveryRow = Pick<typeof webhookDeliveries.$inferSelect, keyof typeof SHOWN>

const iso = (time: Date | null): string | null => time?.toISOString() ?? null

/** The webhook without its secrets. */
const toWebhook = (row: WebhookRow): WebhookDocument => ({
  id: row.id,
  kind: row.kind as DestinationKind,
  url: row.url,
  settings: row.settings as ShownSettings,
  secretSet: row.secret !== '' || row.sealedSettings !== null,
  description: row.description,
  events: row.allEvents ? [...LIFECYCLES] : (row.events as Lifecycle[]),
  jobType: row.jobType,
  organizationId: row.organizationId,
  topLevel: row.topLevel,
  progressIntervalSeconds: row.progressIntervalSeconds,
  language: row.language as MessageLanguage,
  enabled: row.enabled,
  gone: row.gone,
  consecutiveFailures: row.consecutiveFailures,
  failingSince: iso(row.failingSince),
  deliveredAt: iso(row.deliveredAt),
  droppedCount: row.droppedCount,
  droppedAt: iso(row.droppedAt),
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
})

const toDelivery = (row: DeliveryRow): DeliveryDocument => ({
  id: row.messageId,
  webhookId: row.webhookId,
  type: row.type,
  jobId: row.jobId,
  revision: row.revision,
  status: row.status as DeliveryStatus,
  attempts: row.attempts,
  createdAt: row.createdAt.toISOString(),
  nextAttemptAt: row.status === 'waiting' && row.claim === null ? iso(row.dueAt) : null,
  attemptedAt: iso(row.attemptedAt),
  finishedAt: iso(row.finishedAt),
  responseStatus: row.responseStatus,
  error: row.error,
})

const MAX_TESTS = 10
/** The total is not counted further than this. */
const MAX_TOTAL = 10_000

const now = sql`${functions}.clock()`
const inThreeDays = sql`${functions}.clock() + interval '3 days'`

/** The columns for the changes that a webhook is sent. A list of all stands for those of later versions as well. */
const eventColumns = ({ events }: Partial<StoredFields>) =>
  events && { events, allEvents: LIFECYCLES.every(each => events.includes(each)) }

/** Statements on webhooks. Each is limited to a tenant; webhooks of others do not exist for it. */
export const createWebhookRepository = (database: Database) => {
  const db = database.drizzle
  const isOf = (tenantId: string, id: string) => and(eq(webhooks.tenantId, tenantId), eq(webhooks.id, id))
  const change = async (
    tenantId: string,
    id: string,
    values: Parameters<ReturnType<typeof db.update<typeof webhooks>>['set']>[0],
  ) => {
    const rows = await db
      .update(webhooks)
      .set({ ...values, updatedAt: now })
      .where(isOf(tenantId, id))
      .returning()
    return rows[0] ? toWebhook(rows[0]) : null
  }
  return {
    /** Null when the tenant already has `most`. */
    async create(
      tenantId: string,
      fields: StoredFields & { id: string },
      secret: string,
      most: number,
    ): Promise<WebhookDocument | null> {
      return database.transaction(async transaction => {
        if (!(await hasRoom(transaction, webhooks, { tenantId, most, lock: LOCK }))) return null
        const rows = await transaction
          .insert(webhooks)
          .values({ ...fields, ...eventColumns(fields), tenantId, secret })
          .returning()
        return rows[0] ? toWebhook(rows[0]) : null
      })
    },

    async list(tenantId: string): Promise<WebhookDocument[]> {
      const rows = await db
        .select()
        .from(webhooks)
        .where(eq(webhooks.tenantId, tenantId))
        .orderBy(webhooks.createdAt, webhooks.id)
      return rows.map(toWebhook)
    },

    async find(tenantId: string, id: string): Promise<WebhookDocument | null> {
      const rows = await db.select().from(webhooks).where(isOf(tenantId, id))
      return rows[0] ? toWebhook(rows[0]) : null
    },

    /** A webhook that is enabled, or gets another destination, begins without its earlier failures: at once and at full speed. */
    update: (tenantId: string, id: string, fields: Partial<StoredFields>) =>
      change(tenantId, id, {
        ...fields,
        ...eventColumns(fields),
        ...(fields.enabled === true && { gone: false }),
        ...((fields.enabled === true || fields.url !== undefined || fields.settings !== undefined) && {
          consecutiveFailures: 0,
          failingSince: null,
          pausedUntil: null,
        }),
      }),

    rotateSecret: (tenantId: string, id: string, secret: string, overlapSeconds: number) =>
      change(tenantId, id, {
        previousSecret: sql`${webhooks.secret}`,
        previousSecretUntil: sql`${functions}.clock() + make_interval(secs => ${overlapSeconds})`,
        secret,
      }),

    /** Up to `most` webhooks of all tenants after `id`, in the order of their ids. */
    async listSecrets(id: string, most: number): Promise<StoredSecrets[]> {
      return db
        .select({
          id: webhooks.id,
          secret: webhooks.secret,
          previousSecret: webhooks.previousSecret,
          sealedSettings: webhooks.sealedSettings,
        })
        .from(webhooks)
        .where(sql`${webhooks.id} > ${id}`)
        .orderBy(webhooks.id)
        .limit(most)
    },

    /** Stores the same secrets in another form, unless they have changed since they were read. */
    async replaceSecrets(from: StoredSecrets, to: StoredSecrets): Promise<void> {
      const { id, secret, previousSecret, sealedSettings } = from
      await db
        .update(webhooks)
        .set({ secret: to.secret, previousSecret: to.previousSecret, sealedSettings: to.sealedSettings })
        .where(
          and(
            eq(webhooks.id, id),
            eq(webhooks.secret, secret),
            sql`${webhooks.previousSecret} IS NOT DISTINCT FROM ${previousSecret}`,
            sql`${webhooks.sealedSettings} IS NOT DISTINCT FROM ${sealedSettings}`,
          ),
        )
    },

    /** The retention erases its deliveries, because there may be many. */
    async remove(tenantId: string, id: string): Promise<boolean> {
      const rows = await db.delete(webhooks).where(isOf(tenantId, id)).returning({ id: webhooks.id })
      return rows.length > 0
    },

    /** Queues a message that belongs to no job. Ten of them may wait; after that this one replaces the newest. */
    async queue(webhookId: string, type: string, body: string): Promise<DeliveryDocument> {
      const waiting = await db
        .select()
        .from(webhookDeliveries)
        .where(
          and(
            eq(webhookDeliveries.webhookId, webhookId),
            isNull(webhookDeliveries.jobId),
            eq(webhookDeliveries.status, 'waiting'),
          ),
        )
        .orderBy(desc(webhookDeliveries.webhookId), desc(webhookDeliveries.jobId), desc(webhookDeliveries.id))
        .limit(MAX_TESTS)
      if (waiting[0] && waiting.length === MAX_TESTS) return toDelivery(waiting[0])
      const rows = await db
        .insert(webhookDeliveries)
        .values({ webhookId, type, body, dueAt: now, expiresAt: inThreeDays })
        .returning()
      if (!rows[0]) throw new Error('the insert answered no row')
      return toDelivery(rows[0])
    },

    async findDelivery(webhookId: string, messageId: string): Promise<DeliveryDocument | null> {
      const rows = await db
        .select(SHOWN)
        .from(webhookDeliveries)
        .where(and(eq(webhookDeliveries.webhookId, webhookId), eq(webhookDeliveries.messageId, messageId)))
      return rows[0] ? toDelivery(rows[0]) : null
    },

    async listDeliveries(webhookId: string, { status, jobId, page, pageSize }: ListDeliveries) {
      const where = and(
        eq(webhookDeliveries.webhookId, webhookId),
        status && eq(webhookDeliveries.status, status),
        jobId === undefined ? undefined : eq(webhookDeliveries.jobId, jobId),
      )
      // One statement after the other, because a caller has one connection at a time. Of skipped rows only the ids are read,
      // and bodies, which are never shown, are not read.
      const shown = db
        .select({ id: webhookDeliveries.id })
        .from(webhookDeliveries)
        .where(where)
        .orderBy(desc(webhookDeliveries.webhookId), desc(webhookDeliveries.id))
        .limit(pageSize)
        .offset((page - 1) * pageSize)
        .as('shown')
      const rows = await db
        .select(SHOWN)
        .from(shown)
        .innerJoin(webhookDeliveries, eq(webhookDeliveries.id, shown.id))
        .orderBy(desc(webhookDeliveries.id))
      const counted = db
        .select({ one: sql`1` })
        .from(webhookDeliveries)
        .where(where)
        .limit(MAX_TOTAL)
        .as('counted')
      const totals = await db.select({ total: count() }).from(counted)
      return { items: rows.map(toDelivery), total: totals[0]?.total ?? 0 }
    },

    /** Makes a delivery due now, as if it were new. A delivery in flight stays as it is. */
    async requeue(webhookId: string, messageId: string): Promise<DeliveryDocument | null> {
      const isIt = and(eq(webhookDeliveries.webhookId, webhookId), eq(webhookDeliveries.messageId, messageId))
      await db
        .update(webhookDeliveries)
        .set({ status: 'waiting', attempts: 0, dueAt: now, expiresAt: inThreeDays, finishedAt: null })
        .where(and(isIt, sql`claim IS NULL`))
      const rows = await db.select().from(webhookDeliveries).where(isIt)
      return rows[0] ? toDelivery(rows[0]) : null
    },
  }
}

export type WebhookRepository = ReturnType<typeof createWebhookRepository>
