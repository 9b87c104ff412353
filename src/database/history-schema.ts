import {
  sql,
  bigint,
  boolean,
  doublePrecision,
  foreignKey,
  index,
  integer,
  jsonb,
  primaryKey,
  smallint,
  text,
  uuid,
} from './drizzle.ts'
import { publicTable, time } from './columns.ts'
import { progressJobs } from './job-schema.ts'

/** The history: every lifecycle change of a job, its stages and samples of its progress. It is kept as long as the job. */
export const jobEvents = publicTable(
  'job_events',
  {
    id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
    jobId: uuid('job_id').notNull(),
    type: text('type').notNull(),
    at: time('at').notNull(),
    actor: text('actor'),
    attempt: integer('attempt').notNull(),
    data: jsonb('data').notNull().default({}),
  },
  table => [
    foreignKey({ name: 'job_events_job', columns: [table.jobId], foreignColumns: [progressJobs.id] }).onDelete(
      'cascade',
    ),
    index('job_events_history').on(table.jobId, table.id),
    // For statistics. Alarms are rare, so for all other entries the index only costs a check of their type.
    index('job_events_stale')
      .on(table.at, table.jobId, table.attempt, table.id)
      .where(sql`type = 'failed' AND data ->> 'failureReason' = 'stale'`),
  ],
)

/**
 * Lifecycle changes that workers made in SQL, until one process has logged and counted them. Their jobs may have been erased by
 * then.
 */
export const untoldChanges = publicTable('untold_changes', {
  id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
  tenantId: uuid('tenant_id').notNull(),
  jobId: uuid('job_id').notNull(),
  jobType: text('job_type').notNull(),
  revision: bigint('revision', { mode: 'number' }).notNull(),
  event: text('event'),
})

/** What is known of a type of jobs of a tenant, learned from the last 20 that completed (functions/history.sql). */
export const typeHistories = publicTable(
  'type_histories',
  {
    tenantId: uuid('tenant_id').notNull(),
    jobType: text('job_type').notNull(),
    isPartition: boolean('is_partition').notNull(),
    expectedSeconds: doublePrecision('expected_seconds'),
    shape: smallint('shape').array(),
    longSeconds: doublePrecision('long_seconds'),
    /** When the newest job ended that was learned from. */
    newestAt: time('newest_at').notNull(),
  },
  table => [primaryKey({ name: 'type_histories_pkey', columns: [table.tenantId, table.jobType, table.isPartition] })],
)
