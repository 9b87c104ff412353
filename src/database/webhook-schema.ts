import {
  sql,
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  primaryKey,
  smallint,
  text,
  uniqueIndex,
  uuid,
} from './drizzle.ts'
import { count, publicTable, thisMillisecond, time } from './columns.ts'

/** The webhooks of a tenant: where messages are sent, and about which events. */
export const webhooks = publicTable(
  'webhooks',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    tenantId: uuid('tenant_id').notNull(),
    kind: text('kind').notNull().default('webhook'),
    /** Where messages of the kind `webhook` are sent. The other kinds have their address in the settings. */
    url: text('url'),
    /** The settings of the other kinds that are no secrets. */
    settings: jsonb('settings').notNull().default({}),
    /** The settings that are secrets, encrypted (src/webhooks/seal.ts). */
    sealedSettings: text('sealed_settings'),
    language: text('language').notNull().default('en'),
    description: text('description'),

    /** Lifecycle changes that the webhook is sent. Not looked at with `allEvents`. */
    events: text('events').array().notNull(),
    /** The webhook is sent all lifecycle changes, also those that a later version adds. */
    allEvents: boolean('all_events').notNull().default(false),
    /** Filters; null lets all jobs pass. They use only columns of a job that never change. */
    jobType: text('job_type'),
    organizationId: uuid('organization_id'),
    topLevel: boolean('top_level').notNull().default(true),
    /** Null: no messages about progress. */
    progressIntervalSeconds: integer('progress_interval_seconds'),
    /** When the tenant's jobs were last compared with the messages about their progress. */
    progressCheckedAt: time('progress_checked_at'),

    enabled: boolean('enabled').notNull().default(true),
    /** The receiver answered 410. */
    gone: boolean('gone').notNull().default(false),
    /** Signs messages of the kind `webhook`: encrypted when the service has a key, otherwise as it is. Empty for other kinds. */
    secret: text('secret').notNull(),
    /**
     * The secret before the present one. It signs messages as well until `previousSecretUntil`, so that the receiver has time
     * to change.
     */
    previousSecret: text('previous_secret'),
    previousSecretUntil: time('previous_secret_until'),

    /** Failed attempts since the last success. While there are any, one delivery is tried at a time. */
    consecutiveFailures: integer('consecutive_failures').notNull().default(0),
    /** When the first of them failed. The longer ago that is, the longer the pauses are. */
    failingSince: time('failing_since'),
    /** The receiver gets no attempts until then, because it fails or because it asked for a pause. */
    pausedUntil: time('paused_until'),
    /** When the pause was set. If that is in the future, the clock was set back since, and the pause does not count. */
    pausedAt: time('paused_at'),
    deliveredAt: time('delivered_at'),
    /** Messages that were left out because too many waited, and when that last happened. */
    droppedCount: count('dropped_count').notNull().default(0),
    droppedAt: time('dropped_at'),
    createdAt: time('created_at').notNull().default(thisMillisecond),
    updatedAt: time('updated_at').notNull().default(thisMillisecond),
  },
  table => [
    index('webhooks_tenant').on(table.tenantId),
    // For the question whether any webhook wants a change, or progress. The indexes contain no column that an attempt changes,
    // so that updates by attempts stay HOT.
    index('webhooks_enabled')
      .on(table.tenantId)
      .where(sql`enabled`),
    index('webhooks_progress')
      .on(table.tenantId)
      .where(sql`enabled AND progress_interval_seconds IS NOT NULL`),
    check('webhooks_kind', sql`kind IN ('webhook', 'slack', 'discord', 'telegram', 'matrix', 'teams', 'email')`),
    check('webhooks_url', sql`(kind = 'webhook') = (url IS NOT NULL)`),
    check('webhooks_language', sql`language IN ('en', 'de', 'fr')`),
    check('webhooks_progress_interval', sql`progress_interval_seconds BETWEEN 1 AND 86400`),
    check('webhooks_gone', sql`NOT (gone AND enabled)`),
    check('webhooks_previous_secret', sql`(previous_secret IS NULL) = (previous_secret_until IS NULL)`),
    check('webhooks_failures', sql`consecutive_failures >= 0`),
    check('webhooks_dropped', sql`(dropped_at IS NULL) = (dropped_count = 0)`),
    check('webhooks_failing_since', sql`(failing_since IS NULL) = (consecutive_failures = 0)`),
  ],
)

/**
 * Messages that a job's change stores in its own transaction. There is one row per change, however many webhooks want it,
 * because the transaction may be a flush of many tenants' heartbeats. The sender makes deliveries of the messages and then
 * erases them.
 */
export const webhookMessages = publicTable(
  'webhook_messages',
  {
    /** In the order of a job's changes, because messages are queued under the job's lock. */
    id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
    /**
     * Tenants take turns. The default is for versions of the service that do not know the column: their changes must not fail.
     */
    tenantId: uuid('tenant_id').notNull().default('00000000-0000-0000-0000-000000000000'),
    /** The webhooks that wanted the message when the change happened. */
    webhookIds: uuid('webhook_ids').array().notNull(),
    jobId: uuid('job_id').notNull(),
    type: text('type').notNull(),
    revision: count('revision').notNull(),
    body: text('body').notNull(),
    createdAt: time('created_at').notNull().default(thisMillisecond),
  },
  table => [
    index('webhook_messages_tenant').on(table.tenantId, table.id),
    // For the question whether a job has a change that is not a delivery yet.
    index('webhook_messages_job').on(table.jobId),
  ],
)

/**
 * How many deliveries wait for each webhook, deleted webhooks included. The number is an upper limit, because no statement
 * counts down.
 */
export const webhookBacklogs = publicTable(
  'webhook_backlogs',
  {
    webhookId: uuid('webhook_id').primaryKey(),
    tenantId: uuid('tenant_id').notNull(),
    waiting: count('waiting').notNull(),
    /** When the deliveries were last counted. */
    countedAt: time('counted_at').notNull(),
  },
  table => [index('webhook_backlogs_tenant').on(table.tenantId)],
)

/**
 * Deliveries to webhooks, and the record of what happened to them. There are no foreign keys: deleting a webhook need not wait
 * for its deliveries, and erasing a job does not erase its messages. The retention erases deliveries of webhooks that are gone.
 */
export const webhookDeliveries = publicTable(
  'webhook_deliveries',
  {
    /** In the order of a job's changes. */
    id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
    /** The id by which receivers and callers know the message. */
    messageId: uuid('message_id').notNull().defaultRandom(),
    webhookId: uuid('webhook_id').notNull(),
    /** Null for a test message. */
    jobId: uuid('job_id'),
    /** The job's attempt, for destinations that have a message for each attempt; null for the others. */
    jobAttempt: integer('job_attempt'),
    type: text('type').notNull(),
    /** The job's revision in the body. */
    revision: count('revision'),
    body: text('body').notNull(),
    status: text('status').notNull().default('waiting'),
    attempts: integer('attempts').notNull().default(0),
    /**
     * The claim of the attempt in progress. It ends at `due_at`: the process that made the attempt has died then, and any
     * process may take the delivery.
     */
    claim: uuid('claim'),
    dueAt: time('due_at').notNull(),
    createdAt: time('created_at').notNull().default(thisMillisecond),
    /** A delivery that fails after this is dead. */
    expiresAt: time('expires_at').notNull(),
    attemptedAt: time('attempted_at'),
    finishedAt: time('finished_at'),
    /** Of the last attempt. */
    responseStatus: smallint('response_status'),
    error: text('error'),
  },
  table => [
    uniqueIndex('webhook_deliveries_message').on(table.messageId),
    index('webhook_deliveries_due')
      .on(table.webhookId, table.dueAt)
      .where(sql`status = 'waiting'`),
    // For deliveries that were queued or attempted at a time in the future, before the clock was set back
    // (functions/webhooks.sql).
    index('webhook_deliveries_waiting_since')
      .on(sql`(CASE WHEN attempts = 0 THEN due_at ELSE attempted_at END)`)
      .where(sql`status = 'waiting'`),
    index('webhook_deliveries_claimed')
      .on(table.webhookId)
      .where(sql`claim IS NOT NULL`),
    // For the order of a job's messages.
    index('webhook_deliveries_waiting')
      .on(table.webhookId, table.jobId, table.id)
      .where(sql`status = 'waiting'`),
    // For the last message that was queued for a job.
    index('webhook_deliveries_job').on(table.webhookId, table.jobId, table.id),
    index('webhook_deliveries_record').on(table.webhookId, table.id),
    index('webhook_deliveries_finished')
      .on(table.finishedAt)
      .where(sql`${table.finishedAt} IS NOT NULL`),
    check('webhook_deliveries_status', sql`status IN ('waiting', 'delivered', 'dead')`),
    check('webhook_deliveries_finished_at', sql`(finished_at IS NULL) = (status = 'waiting')`),
    check('webhook_deliveries_claim', sql`claim IS NULL OR status = 'waiting'`),
    check('webhook_deliveries_attempts', sql`attempts >= 0`),
  ],
)

/**
 * The one message that a chat has for each job and attempt, so that it can be edited. There are no foreign keys, for the reasons
 * above. The retention erases rows of webhooks that are gone, and old ones.
 */
export const chatMessages = publicTable(
  'chat_messages',
  {
    webhookId: uuid('webhook_id').notNull(),
    jobId: uuid('job_id').notNull(),
    jobAttempt: integer('job_attempt').notNull(),
    /** What the platform calls the message (src/webhooks/destinations). */
    reference: text('reference').notNull(),
    /** How often the message was posted: once, and again each time that it was deleted. */
    posts: integer('posts').notNull(),
    /** The job's revision that the message shows. An older one is never sent. */
    revision: count('revision').notNull(),
    updatedAt: time('updated_at').notNull(),
  },
  table => [
    primaryKey({ name: 'chat_messages_pkey', columns: [table.webhookId, table.jobId, table.jobAttempt] }),
    index('chat_messages_updated').on(table.updatedAt),
    check('chat_messages_posts', sql`posts >= 1`),
  ],
)
