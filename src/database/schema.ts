import {
  sql,
  bigint,
  boolean,
  check,
  doublePrecision,
  foreignKey,
  index,
  integer,
  jsonb,
  primaryKey,
  smallint,
  text,
  uniqueIndex,
  uuid,
} from './drizzle.ts'
import { count, publicTable, thisMillisecond, time, transactionId } from './columns.ts'

export * from './webhook-schema.ts'

/**
 * One row per job. A heartbeat updates it, so no index may hold a column that a heartbeat changes (`heartbeat_at`,
 * `updated_at`, counts, `liveness`): such an index ends HOT updates and bloats the table. `fillfactor` 50 (see the
 * migrations) leaves the room that HOT needs.
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
    /** What the job itself declared or its worker `default` reported; the workers' shares count only while it is null. */
    ownTotalCount: count('own_total_count'),
    remainingCount: count('remaining_count').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' THEN 0 WHEN total_count < processed_count THEN 0 ELSE total_count - processed_count END`,
    ),
    unit: text('unit').notNull().default('unknown'),
    throughputPerSecond: doublePrecision('throughput_per_second'),
    etaSeconds: count('eta_seconds'),
    etaSource: text('eta_source'),
    /** How long jobs of this type usually take, looked up when it starts. Null when none has completed yet. */
    expectedSeconds: doublePrecision('expected_seconds'),
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
     * The transaction that finished it. `finished_at` is when that happened, which may be long before others could see it: what a
     * reader has missed is told by this. Null: it finished before there was this column.
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

    /** What the history last noted of its progress, and when. Null: nothing in this attempt. */
    sampledAt: time('sampled_at'),
    sampledPercent: smallint('sampled_percent'),

    /** What statistics read of a completed job. Null until then, so that their index stays out of the way of heartbeats. */
    completedCount: count('completed_count').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' THEN processed_count END`,
    ),
    /** Null also where it counted nothing. */
    completedUnit: text('completed_unit').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' AND processed_count > 0 THEN unit END`,
    ),
    completedSeconds: doublePrecision('completed_seconds').generatedAlwaysAs(
      sql`CASE WHEN status = 'completed' THEN date_part('epoch', finished_at - started_at) END`,
    ),

    revision: count('revision').notNull().default(1),
    /** The last lifecycle change, and the revision it made: what a live frame is named after. */
    lifecycle: text('lifecycle').notNull().default('created'),
    lifecycleRevision: count('lifecycle_revision').notNull().default(1),
    idempotencyKey: text('idempotency_key'),
    /** SHA-256 of the creating request: the same key with another body is refused. */
    idempotencyHash: text('idempotency_hash'),
  },
  table => [
    foreignKey({ name: 'progress_jobs_parent', columns: [table.parentJobId], foreignColumns: [table.id] }).onDelete(
      'cascade',
    ),
    uniqueIndex('progress_jobs_partition').on(table.parentJobId, table.partitionIndex),
    // Which batch a job is or belongs to, for those who lock many: small, because it holds nothing else.
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
    // Read backwards for "newest first"; no index names a direction, for DESC in an index would also fix where nulls go.
    index('progress_jobs_active')
      .on(table.tenantId, table.createdAt)
      .where(sql`${table.finishedAt} IS NULL`),
    // All that statistics read of a job, so that they need not visit the table's wide rows (jobs/statistics.ts). Neither
    // status nor started_at is here: they change when a job starts, and that update is HOT too.
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
    // The last jobs of a type that completed, for what is to be expected of the next. Partitions apart from whole jobs.
    index('progress_jobs_durations')
      .on(table.tenantId, table.jobType, sql`(parent_job_id IS NULL)`, table.finishedAt, table.completedSeconds)
      .where(sql`completed_seconds IS NOT NULL`),
    index('progress_jobs_finished_at')
      .on(table.finishedAt)
      .where(sql`${table.finishedAt} IS NOT NULL`),
    // What has been committed since a reader's last look (functions/revisions.sql, jobs/live-source.ts).
    index('progress_jobs_finished_xact')
      .on(table.tenantId, table.finishedXact)
      .where(sql`${table.finishedAt} IS NOT NULL`),
    index('progress_jobs_created').on(table.tenantId, table.createdAt),
    // What one user has begun, newest first. None of it ever changes.
    index('progress_jobs_started_by')
      .on(table.tenantId, table.startedByUserId, table.createdAt)
      .where(sql`${table.startedByUserId} IS NOT NULL`),
    check('progress_jobs_status', sql`status IN ('pending', 'running', 'completed', 'failed', 'cancelled')`),
    check('progress_jobs_unit', sql`length(unit) BETWEEN 1 AND 30`),
    check('progress_jobs_percent', sql`progress_percent BETWEEN 0 AND 100`),
    check('progress_jobs_percent_100_is_completed', sql`progress_percent < 100 OR status = 'completed'`),
    check(
      'progress_jobs_counts',
      sql`processed_count BETWEEN 0 AND 9007199254740991 AND total_count BETWEEN 0 AND 9007199254740991
        AND own_total_count BETWEEN 0 AND 9007199254740991 AND eta_seconds BETWEEN 0 AND 9007199254740991`,
    ),
    check('progress_jobs_throughput', sql`throughput_per_second >= 0 AND throughput_per_second < 'infinity'`),
    check('progress_jobs_eta_source', sql`eta_source IN ('rate', 'history', 'worker')`),
    check('progress_jobs_finished', sql`(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))`),
    check('progress_jobs_started', sql`started_at IS NOT NULL OR status IN ('pending', 'cancelled', 'failed')`),
    check('progress_jobs_heartbeat', sql`heartbeat_at IS NOT NULL OR status <> 'running' OR children IS NOT NULL`),
    check(
      'progress_jobs_liveness',
      sql`(liveness IS NOT NULL) = (status = 'running') AND liveness IN ('ok', 'stalled')`,
    ),
    check('progress_jobs_failure', sql`(failure_reason IS NOT NULL) = (status = 'failed')`),
    check('progress_jobs_failure_reason', sql`failure_reason IN ('worker', 'stale', 'partitions', 'never_started')`),
    check('progress_jobs_attempt', sql`attempt >= 1`),
    check(
      'progress_jobs_timeouts',
      sql`heartbeat_timeout_seconds BETWEEN 0 AND 86400 AND (pending_timeout_seconds IS NULL OR pending_timeout_seconds >= 1)`,
    ),
    check(
      'progress_jobs_partition_place',
      sql`(parent_job_id IS NULL) = (partition_index IS NULL) AND partition_index >= 0 AND (parent_job_id IS NULL OR children IS NULL)`,
    ),
    check(
      'progress_jobs_partition_count',
      sql`(partition_count IS NOT NULL) = (parent_job_id IS NOT NULL OR children IS NOT NULL)
        AND partition_count BETWEEN 1 AND 1000 AND partition_index < partition_count`,
    ),
    check('progress_jobs_sampled', sql`(sampled_at IS NULL) = (sampled_percent IS NULL)`),
    check('progress_jobs_expected', sql`expected_seconds >= 0 AND expected_seconds < 'infinity'`),
    check('progress_jobs_revision', sql`revision >= 1 AND lifecycle_revision BETWEEN 1 AND revision`),
    check(
      'progress_jobs_lifecycle',
      sql`lifecycle IN ('created', 'started', 'cancel_requested', 'cancelled', 'completed', 'failed', 'stalled', 'recovered', 'retried')`,
    ),
    check('progress_jobs_idempotency_pair', sql`(idempotency_key IS NULL) = (idempotency_hash IS NULL)`),
  ],
)

/** One row per job and worker. The job's numbers are the sum of the rows of its current attempt. */
export const jobProgress = publicTable(
  'job_progress',
  {
    jobId: uuid('job_id').notNull(),
    workerId: text('worker_id').notNull(),
    attempt: integer('attempt').notNull(),
    processedCount: count('processed_count').notNull().default(0),
    /** The worker's share of the total, where it named one. */
    totalCount: count('total_count'),
    /** What the worker counts, where it named it; null: what the job counts. Only what is in the job's unit is summed. */
    unit: text('unit'),
    /** As reported; counts only while no total is known. */
    progressPercent: smallint('progress_percent'),
    stage: text('stage'),
    message: text('message'),
    payload: jsonb('payload'),
    /** As reported; wins over the measured rate. */
    throughputPerSecond: doublePrecision('throughput_per_second'),
    /** When the worker expects to be done, from its own `etaSeconds`; wins over the measured rate. */
    etaAt: time('eta_at'),

    /** The worker's clock at its last applied report that carried one. Orders its own reports, nothing else. */
    reportedAt: time('reported_at'),
    /** When the first of its late reports came, if none has applied since. */
    lateSince: time('late_since'),
    heartbeatAt: time('heartbeat_at').notNull(),
    createdAt: time('created_at').notNull(),
    advancedAt: time('advanced_at'),

    /** What the measured rate is made of (functions/arithmetic.sql). */
    heartbeats: count('heartbeats').notNull().default(1),
    advances: count('advances').notNull().default(0),
    /** When this worker's own rate began to count. */
    rateSince: time('rate_since').notNull(),
    /** Where the next advance is measured from: the database's clock, and the worker's where it sends one. */
    rateAt: time('rate_at').notNull(),
    rateReportedAt: time('rate_reported_at'),
    /** Averages of the worker's pace, in units per second: over all its time, and over about the last eighth of it. */
    rateWhole: doublePrecision('rate_whole').notNull().default(0),
    rateRecent: doublePrecision('rate_recent').notNull().default(0),
  },
  table => [
    primaryKey({ name: 'job_progress_pkey', columns: [table.jobId, table.workerId] }),
    foreignKey({ name: 'job_progress_job', columns: [table.jobId], foreignColumns: [progressJobs.id] }).onDelete(
      'cascade',
    ),
    check(
      'job_progress_counts',
      sql`processed_count BETWEEN 0 AND 9007199254740991 AND total_count BETWEEN 0 AND 9007199254740991`,
    ),
    check('job_progress_unit', sql`length(unit) BETWEEN 1 AND 30`),
    check('job_progress_percent', sql`progress_percent BETWEEN 0 AND 100`),
    check('job_progress_throughput', sql`throughput_per_second BETWEEN 0 AND 1e15`),
    check(
      'job_progress_rate',
      sql`rate_whole >= 0 AND rate_whole < 'infinity' AND rate_recent >= 0 AND rate_recent < 'infinity'`,
    ),
  ],
)

/** The history: every lifecycle change of a job, its stages and samples of its progress, for as long as the job lives. */
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
    // For statistics. Alarms are rare: the other entries pay for it with a look at their type.
    index('job_events_stale')
      .on(table.at, table.jobId, table.attempt, table.id)
      .where(sql`type = 'failed' AND data ->> 'failureReason' = 'stale'`),
  ],
)

/**
 * Lifecycle changes that workers made in SQL, until one process has told its log and its metrics of them. Their jobs may be gone
 * by then.
 */
export const untoldChanges = publicTable('untold_changes', {
  id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
  tenantId: uuid('tenant_id').notNull(),
  jobId: uuid('job_id').notNull(),
  jobType: text('job_type').notNull(),
  revision: bigint('revision', { mode: 'number' }).notNull(),
  event: text('event'),
})

/** Processes that take heartbeats. One that went missing delays verdicts: its workers may be on their way to another. */
export const serviceProcesses = publicTable('service_processes', {
  id: uuid('id').primaryKey(),
  startedAt: time('started_at').notNull(),
  seenAt: time('seen_at').notNull(),
  /** Since when this process has swept on time and reached the database. */
  healthySince: time('healthy_since').notNull(),
  /** All reports that this process received before this moment are written, apart from those of `waiting_job_ids`. */
  heardUntil: time('heard_until'),
  /** Jobs that another session holds locked and whose reports wait in this process: nobody judges them. */
  waitingJobIds: uuid('waiting_job_ids').array(),
})
