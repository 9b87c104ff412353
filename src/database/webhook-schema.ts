import { sql, bigint, boolean, check, index, integer, smallint, text, uniqueIndex, uuid } from './drizzle.ts'
import { count, publicTable, thisMillisecond, time } from './columns.ts'

/** Where a tenant wants to be told of what happens to its jobs, and of what. */
export const webhooks = publicTable(
  'webhooks',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    tenantId: uuid('tenant_id').notNull(),
    url: text('url').notNull(),
    description: text('description'),

    /** Lifecycle changes it is told of. */
    events: text('events').array().notNull(),
    /** Filters; null lets all through. None of what they look at ever changes in a job. */
    jobType: text('job_type'),
    organizationId: uuid('organization_id'),
    topLevel: boolean('top_level').notNull().default(true),
    /** Null: no progress. */
    progressIntervalSeconds: integer('progress_interval_seconds'),
    /** When jobs were last compared with what was queued of their progress. */
    progressCheckedAt: time('progress_checked_at'),

    enabled: boolean('enabled').notNull().default(true),
    /** Its receiver answered 410. */
    gone: boolean('gone').notNull().default(false),
    secret: text('secret').notNull(),
    /** The one before, which signs as well until then: a receiver has time to take the new one over. */
    previousSecret: text('previous_secret'),
    previousSecretUntil: time('previous_secret_until'),

    /** Attempts that failed since the last success: while there are any, one delivery at a time is tried. */
    consecutiveFailures: integer('consecutive_failures').notNull().default(0),
    /** When the first of them failed: the longer ago, the longer are the pauses. */
    failingSince: time('failing_since'),
    /** The receiver is left alone until then: because it fails, or because it asked for it. */
    pausedUntil: time('paused_until'),
    /** When that was decided: a pause that began in the future is of before the clock was set back, and is none. */
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
    // Whether there is any that has to be told of a change, and of progress. On nothing that attempts change, so that these
    // updates stay HOT.
    index('webhooks_enabled')
      .on(table.tenantId)
      .where(sql`enabled`),
    index('webhooks_progress')
      .on(table.tenantId)
      .where(sql`enabled AND progress_interval_seconds IS NOT NULL`),
    check('webhooks_progress_interval', sql`progress_interval_seconds BETWEEN 1 AND 86400`),
    check('webhooks_gone', sql`NOT (gone AND enabled)`),
    check('webhooks_previous_secret', sql`(previous_secret IS NULL) = (previous_secret_until IS NULL)`),
    check('webhooks_failures', sql`consecutive_failures >= 0`),
    check('webhooks_dropped', sql`(dropped_at IS NULL) = (dropped_count = 0)`),
    check('webhooks_failing_since', sql`(failing_since IS NULL) = (consecutive_failures = 0)`),
  ],
)

/**
 * What changes of jobs leave in their transaction: one row for a change, whoever wants to hear of it, since that transaction
 * may be a flush of everyone's heartbeats. What sends makes deliveries of it, and erases it.
 */
export const webhookMessages = publicTable(
  'webhook_messages',
  {
    /** In the order of a job's changes: they are queued under the job's lock. */
    id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
    /** Whose turn it is. The default is for versions that do not know the column: a change must not fail for it. */
    tenantId: uuid('tenant_id').notNull().default('00000000-0000-0000-0000-000000000000'),
    /** Who wanted to hear of it when it happened. */
    webhookIds: uuid('webhook_ids').array().notNull(),
    jobId: uuid('job_id').notNull(),
    type: text('type').notNull(),
    revision: count('revision').notNull(),
    body: text('body').notNull(),
    createdAt: time('created_at').notNull().default(thisMillisecond),
  },
  table => [
    index('webhook_messages_tenant').on(table.tenantId, table.id),
    // Whether a job has a change that is no delivery yet.
    index('webhook_messages_job').on(table.jobId),
  ],
)

/** How many deliveries wait for each webhook, those included that were deleted: at most so many, since nobody counts down. */
export const webhookBacklogs = publicTable(
  'webhook_backlogs',
  {
    webhookId: uuid('webhook_id').primaryKey(),
    tenantId: uuid('tenant_id').notNull(),
    waiting: count('waiting').notNull(),
    /** When they were last counted. */
    countedAt: time('counted_at').notNull(),
  },
  table => [index('webhook_backlogs_tenant').on(table.tenantId)],
)

/**
 * What is to be sent to whom, and the record of what became of it. No foreign keys: whoever deletes a webhook need not wait
 * for its deliveries, and a job that is erased takes none of its messages along. Retention erases what has no webhook any more.
 */
export const webhookDeliveries = publicTable(
  'webhook_deliveries',
  {
    /** In the order of a job's changes. */
    id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
    /** What receivers and callers know it by. */
    messageId: uuid('message_id').notNull().defaultRandom(),
    webhookId: uuid('webhook_id').notNull(),
    /** Null for a test. */
    jobId: uuid('job_id'),
    type: text('type').notNull(),
    /** Of the job, as it is in the body. */
    revision: count('revision'),
    body: text('body').notNull(),
    status: text('status').notNull().default('waiting'),
    attempts: integer('attempts').notNull().default(0),
    /** Whose attempt is under way. It runs out at `due_at`: then its process has died, and the delivery is anyone's. */
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
    // What was queued or attempted in the future: before the clock was set back. As functions/webhooks.sql has it.
    index('webhook_deliveries_waiting_since')
      .on(sql`(CASE WHEN attempts = 0 THEN due_at ELSE attempted_at END)`)
      .where(sql`status = 'waiting'`),
    index('webhook_deliveries_claimed')
      .on(table.webhookId)
      .where(sql`claim IS NOT NULL`),
    // Which of a job's messages come before another.
    index('webhook_deliveries_waiting')
      .on(table.webhookId, table.jobId, table.id)
      .where(sql`status = 'waiting'`),
    // What was last queued of a job.
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
