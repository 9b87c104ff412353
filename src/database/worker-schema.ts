import {
  sql,
  boolean,
  check,
  doublePrecision,
  foreignKey,
  integer,
  jsonb,
  primaryKey,
  real,
  smallint,
  text,
  uuid,
} from './drizzle.ts'
import { count, publicTable, time } from './columns.ts'
import { progressJobs } from './job-schema.ts'

/** One row per job and worker. The job's numbers are the sum of the rows of its current attempt. */
export const jobProgress = publicTable(
  'job_progress',
  {
    jobId: uuid('job_id').notNull(),
    workerId: text('worker_id').notNull(),
    attempt: integer('attempt').notNull(),
    processedCount: count('processed_count').notNull().default(0),
    /** The worker's share of the total, if it named one. */
    totalCount: count('total_count'),
    /** The unit of the worker's counts, if it named one; null: the job's unit. Only counts in the job's unit are added up. */
    unit: text('unit'),
    /** As reported; it only counts while no total is known. */
    progressPercent: smallint('progress_percent'),
    stage: text('stage'),
    message: text('message'),
    payload: jsonb('payload'),
    /** As reported; it is used instead of the measured rate. */
    throughputPerSecond: doublePrecision('throughput_per_second'),
    /** When the worker expects to be done, from its own `etaSeconds`; it is used instead of the measured rate. */
    etaAt: time('eta_at'),

    /** The worker's clock at its last applied report that had a time. It only orders the worker's own reports. */
    reportedAt: time('reported_at'),
    /** When the first of the worker's late reports came, if no report has applied since. */
    lateSince: time('late_since'),
    heartbeatAt: time('heartbeat_at').notNull(),
    createdAt: time('created_at').notNull(),
    advancedAt: time('advanced_at'),

    /** The values from which the rate is measured (functions/arithmetic.sql). */
    heartbeats: count('heartbeats').notNull().default(1),
    advances: count('advances').notNull().default(0),
    /** When the measurement of this worker's rate began. */
    rateSince: time('rate_since').notNull(),
    /** The time from which the next advance is measured: by the database's clock, and by the worker's clock if it sends one. */
    rateAt: time('rate_at').notNull(),
    rateReportedAt: time('rate_reported_at'),
    /** The worker's rate is `rateUnits` divided by `rateSeconds`, as of its last advance. */
    rateUnits: doublePrecision('rate_units').notNull().default(0),
    rateSeconds: doublePrecision('rate_seconds').notNull().default(0),
    /** How wrong the rate would have been so far: the mean of the logarithms of predicted to actual. Null: not known yet. */
    rateError: real('rate_error'),
    /** All that the worker has advanced, and the seconds that it was at work for it. */
    paceUnits: doublePrecision('pace_units').notNull().default(0),
    paceSeconds: doublePrecision('pace_seconds').notNull().default(0),
    /** Units at up to eight even moments of those seconds, `paceStep` seconds apart, from 0. */
    pacePath: real('pace_path')
      .array()
      .notNull()
      .default(sql`'{0}'`),
    paceStep: doublePrecision('pace_step').notNull().default(0),
    /** The two longest times from one advance to the next, and the part of the longest that does not count. */
    longestGap: doublePrecision('longest_gap').notNull().default(0),
    secondGap: doublePrecision('second_gap').notNull().default(0),
    leftOut: doublePrecision('left_out').notNull().default(0),
    /** The seconds of pauses that count: what they lasted beyond a mean gap, without `leftOut`. */
    pausedSeconds: doublePrecision('paused_seconds').notNull().default(0),
    /** Whether the last advance ended a long gap. A second one in a row is a slower pace and no pause. */
    afterPause: boolean('after_pause').notNull().default(false),
    /** Whether `totalCount` has become smaller: workers take over work of each other, so the shares do not say when the job ends. */
    shareFell: boolean('share_fell').notNull().default(false),
    /** No longer read. The version before this one writes them, and may run beside it during an upgrade. */
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
      sql`rate_whole >= 0 AND rate_whole < 'infinity' AND rate_recent >= 0 AND rate_recent < 'infinity'
        AND rate_units >= 0 AND rate_units < 'infinity' AND rate_seconds >= 0 AND rate_seconds < 'infinity'`,
    ),
  ],
)
