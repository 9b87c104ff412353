import {
  sql,
  boolean,
  doublePrecision,
  foreignKey,
  index,
  integer,
  jsonb,
  smallint,
  text,
  uniqueIndex,
  uuid,
  real,
} from './drizzle.ts'
import type { SQL } from 'drizzle-orm'
import type { FinishedStatus } from '../contract/states.ts'
import { count, publicTable, thisMillisecond, time, transactionId } from './columns.ts'
import { JOB_CHECKS } from './job-checks.ts'
import { NAME_KEYS } from './name-keys.ts'

/**
 * The outcome of a finished job, by columns that do not change before the job finishes (CHECKs of the table). `status` changes when
 * a job starts, so an index that names it would make each start dearer.
 */
export const OUTCOME: Readonly<Record<FinishedStatus, SQL>> = {
  completed: sql`completed_seconds IS NOT NULL`,
  failed: sql`failure_reason IS NOT NULL`,
  cancelled: sql`finished_at IS NOT NULL AND failure_reason IS NULL AND completed_seconds IS NULL`,
}

/**
 * One row per job. Every heartbeat updates it, so no index may contain a column that a heartbeat changes (`heartbeat_at`,
 * `updated_at`, counts, `liveness`): with such an index, updates would not be HOT, and the table would bloat. `fillfactor` 50
 * (see the migrations) leaves the room that HOT updates need.
 */
export const progressJobs = publicTable(
  'progress_jobs',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    tenantId: uuid('tenant_id').notNull(),
    organizationId: uuid('organization_id'),
    jobType: text('job_type').notNull(),
    name: text('name').notNull(),
    description: text('description'),
    status: text('status').notNull().default('pending'),

    progressPercent: smallint('progress_percent').notNull().default(0),
    processedCount: count('processed_count').notNull().default(0),
    totalCount: count('total_count'),
    /**
     * The total that was declared for the job, or that its worker `default` reported. While it is null, the shares of the
     * workers are added up.
     */
    ownTotalCount: count('own_total_count'),
    remainingCount: count('remaining_count').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' THEN 0 WHEN total_count < processed_count THEN 0 ELSE total_count - processed_count END`,
    ),
    unit: text('unit').notNull().default('unknown'),
    throughputPerSecond: doublePrecision('throughput_per_second'),
    etaSeconds: count('eta_seconds'),
    etaSource: text('eta_source'),
    /** How uncertain the estimate is: the standard deviation of its logarithm. Null: there is none, or a worker stated it. */
    etaSpread: real('eta_spread'),
    /**
     * The history of the job's type, looked up when the job starts (functions/history.sql): how long jobs of the type usually
     * take, the shape of their work, and how long one takes that takes longer than usual. Null: none has completed yet.
     */
    expectedSeconds: doublePrecision('expected_seconds'),
    shape: smallint('shape').array(),
    longSeconds: doublePrecision('long_seconds'),
    /** The share of the work done at up to eight even moments, `shareStep` seconds apart, and the odds of the shape that follow. */
    sharePath: real('share_path').array(),
    shareStep: doublePrecision('share_step'),
    shapeOdds: real('shape_odds'),
    /** When the percent of a job last grew of which workers report nothing else. Null: not in this attempt. */
    percentAt: time('percent_at'),
    /** The job runs longer than `longSeconds`, as the last sweep found it. */
    unusual: boolean('unusual').notNull().default(false),
    /** When the job should have finished: a time, or seconds from its start. At most one of both. */
    finishBy: time('finish_by'),
    finishWithinSeconds: integer('finish_within_seconds'),
    /**
     * What the sweeps of this attempt found (functions/deadlines.sql). Null: nothing yet. `doubtedSince`: since when the likely end
     * of a job that is on time lies after the deadline. `calmSince`: when a job that had been at risk was last back on time.
     */
    deadline: text('deadline'),
    doubtedSince: time('doubted_since'),
    calmSince: time('calm_since'),
    stage: text('stage'),
    stages: jsonb('stages'),
    message: text('message'),
    liveness: text('liveness'),
    advancedAt: time('advanced_at'),

    startedByUserId: text('started_by_user_id'),
    cancelledByUserId: text('cancelled_by_user_id'),
    startedAt: time('started_at'),
    heartbeatAt: time('heartbeat_at'),
    finishedAt: time('finished_at'),
    /**
     * The transaction that finished the job. `finished_at` is the time of the change, and other sessions may see it much later,
     * so this column tells which ends a reader has not seen. Null: the job finished before the column existed, or in
     * another database, from which the job was restored.
     */
    finishedXact: transactionId('finished_xact'),
    createdAt: time('created_at').notNull().default(thisMillisecond),
    updatedAt: time('updated_at').notNull().default(thisMillisecond),

    resultSummary: jsonb('result_summary'),
    errorMessage: text('error_message'),
    errorStack: text('error_stack'),
    failureReason: text('failure_reason'),
    meta: jsonb('meta').notNull().default({}),

    cancellable: boolean('cancellable').notNull().default(false),
    cancelRequestedAt: time('cancel_requested_at'),
    priority: integer('priority').notNull().default(0),
    attempt: integer('attempt').notNull().default(1),
    heartbeatTimeoutSeconds: integer('heartbeat_timeout_seconds').notNull(),
    pendingTimeoutSeconds: integer('pending_timeout_seconds'),

    parentJobId: uuid('parent_job_id'),
    partitionIndex: integer('partition_index'),
    partitionCount: integer('partition_count'),
    /** Counts of a batch's partitions, current names and first errors; null for a job that is no batch. */
    children: jsonb('children'),

    /** When the history last noted the job's progress, and the percent that it noted. Null: nothing in this attempt. */
    sampledAt: time('sampled_at'),
    sampledPercent: smallint('sampled_percent'),

    /**
     * What statistics read of a completed job. Null until the job has completed, so that heartbeats do not change the index.
     */
    completedCount: count('completed_count').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' THEN processed_count END`,
    ),
    /** Also null when the job counted nothing. */
    completedUnit: text('completed_unit').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' AND processed_count > 0 THEN unit END`,
    ),
    completedSeconds: doublePrecision('completed_seconds').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' THEN date_part('epoch', finished_at - started_at) END`,
    ),

    /** By how much a finished job with a deadline was late; 0 or less: it was not. */
    lateSeconds: doublePrecision('late_seconds').generatedAlwaysAs(
      sql`CASE WHEN finished_at IS NOT NULL THEN coalesce(date_part('epoch', finished_at - finish_by),
        date_part('epoch', finished_at - started_at) - finish_within_seconds) END`,
    ),

    revision: count('revision').notNull().default(1),
    /** The last lifecycle change, and the revision that it made. The frames of live streams are named after it. */
    lifecycle: text('lifecycle').notNull().default('created'),
    lifecycleRevision: count('lifecycle_revision').notNull().default(1),
    idempotencyKey: text('idempotency_key'),
    /** SHA-256 of the request that created the job: the same key with another request is refused. */
    idempotencyHash: text('idempotency_hash'),
  },
  table => [
    foreignKey({ name: 'progress_jobs_parent', columns: [table.parentJobId], foreignColumns: [table.id] }).onDelete(
      'cascade',
    ),
    uniqueIndex('progress_jobs_partition').on(table.parentJobId, table.partitionIndex),
    // Which batch a job is or belongs to, for statements that lock many jobs. It is small, because it contains batches and
    // partitions only.
    index('progress_jobs_batch')
      .on(table.id, table.parentJobId)
      .where(sql`partition_count IS NOT NULL`),
    uniqueIndex('progress_jobs_idempotency')
      .on(
        table.tenantId,
        sql`coalesce(${table.organizationId}, '00000000-0000-0000-0000-000000000000')`,
        table.idempotencyKey,
      )
      .where(sql`${table.idempotencyKey} IS NOT NULL`),
    // Read backwards for "newest first". No index of a tenant names a direction, because DESC would also fix the place of nulls.
    index('progress_jobs_active')
      .on(table.tenantId, table.createdAt)
      .where(sql`${table.finishedAt} IS NULL`),
    // All columns that statistics read, so that they need not read the table's wide rows (functions/statistics.sql). Status and
    // started_at are left out: they change when a job starts, and that update is HOT as well.
    index('progress_jobs_finished')
      .on(
        table.tenantId,
        table.finishedAt,
        table.jobType,
        table.organizationId,
        table.parentJobId,
        table.failureReason,
        table.completedSeconds,
        table.completedCount,
        table.completedUnit,
      )
      .where(sql`${table.finishedAt} IS NOT NULL`),
    // The last completed jobs of a type, for the expected duration of the next one. Partitions are separate from other jobs.
    index('progress_jobs_durations')
      .on(table.tenantId, table.jobType, sql`(parent_job_id IS NULL)`, table.finishedAt, table.completedSeconds)
      .where(sql`completed_seconds IS NOT NULL`),
    // Finished jobs of all tenants, for the retention and the roll-ups. It has another order than lists have: the planner takes its
    // rows to be the cheapest, and would look for those of one tenant among all.
    index('progress_jobs_retention')
      .on(table.finishedAt.asc().nullsFirst())
      .where(sql`${table.finishedAt} IS NOT NULL`),
    // Ends that were committed since a reader's last look (functions/revisions.sql, jobs/live-source.ts).
    index('progress_jobs_finished_xact')
      .on(table.tenantId, table.finishedXact)
      .where(sql`${table.finishedAt} IS NOT NULL`),
    // The jobs whose deadline the sweeps judge. A job leaves the index when it is overdue or finished.
    index('progress_jobs_deadlines')
      .on(table.id)
      .where(
        sql`finished_at IS NULL AND (finish_by IS NOT NULL OR finish_within_seconds IS NOT NULL) AND deadline IS DISTINCT FROM 'overdue'`,
      ),
    // All columns that statistics read of the jobs that ended late.
    index('progress_jobs_late')
      .on(table.tenantId, table.finishedAt, table.jobType, table.organizationId, table.parentJobId, table.lateSeconds)
      .where(sql`late_seconds > 0`),
    index('progress_jobs_created').on(table.tenantId, table.createdAt),
    // Finished jobs in the order of lists (jobs/list-sources.ts). Jobs enter these indexes when they finish, so neither a
    // heartbeat nor the start of a job changes them. The batch stands behind the id, where it changes no order: so an index alone
    // tells how many jobs are no partitions.
    index('progress_jobs_list_top')
      .on(table.tenantId, table.finishedAt, table.id)
      .where(sql`${table.finishedAt} IS NOT NULL AND ${table.parentJobId} IS NULL`),
    index('progress_jobs_list_failed_place')
      .on(table.tenantId, table.finishedAt, table.id, table.parentJobId)
      .where(OUTCOME.failed),
    index('progress_jobs_list_failed_type')
      .on(table.tenantId, table.jobType, table.finishedAt, table.id, table.parentJobId)
      .where(OUTCOME.failed),
    index('progress_jobs_list_cancelled_place')
      .on(table.tenantId, table.finishedAt, table.id, table.parentJobId)
      .where(OUTCOME.cancelled),
    index('progress_jobs_list_type_place')
      .on(table.tenantId, table.jobType, table.finishedAt, table.id, table.parentJobId)
      .where(sql`${table.finishedAt} IS NOT NULL`),
    index('progress_jobs_list_organization_place')
      .on(table.tenantId, table.organizationId, table.finishedAt, table.id, table.parentJobId)
      .where(sql`${table.finishedAt} IS NOT NULL AND ${table.organizationId} IS NOT NULL`),
    index('progress_jobs_list_priority')
      .on(table.tenantId, table.priority, table.id)
      .where(sql`${table.finishedAt} IS NOT NULL`),
    // By creation as well, for each filter that has an index by the end: the planner does not know how rare an outcome or a type is
    // among the jobs of one tenant.
    index('progress_jobs_list_failed_created').on(table.tenantId, table.createdAt, table.id).where(OUTCOME.failed),
    index('progress_jobs_list_cancelled_created')
      .on(table.tenantId, table.createdAt, table.id)
      .where(OUTCOME.cancelled),
    index('progress_jobs_list_late_created')
      .on(table.tenantId, table.createdAt, table.id)
      .where(sql`late_seconds > 0`),
    index('progress_jobs_list_type_created')
      .on(table.tenantId, table.jobType, table.createdAt, table.id)
      .where(sql`${table.finishedAt} IS NOT NULL`),
    index('progress_jobs_list_organization_created')
      .on(table.tenantId, table.organizationId, table.createdAt, table.id)
      .where(sql`${table.finishedAt} IS NOT NULL AND ${table.organizationId} IS NOT NULL`),
    // Finished jobs by the letters of their names. Without a list of pending entries, which each search would have to read.
    index('progress_jobs_list_name')
      .using('gin', NAME_KEYS)
      .where(sql`${table.finishedAt} IS NOT NULL`)
      .with({ fastupdate: false }),
    // The jobs that a user has started, newest first. The columns never change.
    index('progress_jobs_started_by')
      .on(table.tenantId, table.startedByUserId, table.createdAt)
      .where(sql`${table.startedByUserId} IS NOT NULL`),
    ...JOB_CHECKS,
  ],
)
