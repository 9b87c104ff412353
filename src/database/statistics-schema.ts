import { sql, bigint, boolean, check, index, json, primaryKey, smallint, text, uuid } from './drizzle.ts'
import { publicTable, time } from './columns.ts'

/**
 * Counts of the jobs that finished in a period, for statistics (functions/statistics.sql). A period without a row, or with a mark
 * in it, is counted from the jobs.
 */
export const statisticsRollups = publicTable(
  'statistics_rollups',
  {
    tenantId: uuid('tenant_id').notNull(),
    /** `hour`, `day` or `month`, in UTC. */
    level: text('level').notNull(),
    startsAt: time('starts_at').notNull(),
    /** Whose jobs: 0 all of the tenant, 1 those of no organization, 2 those of the organization. */
    whose: smallint('whose').notNull(),
    /** The nil UUID unless `whose` is 2. */
    organizationId: uuid('organization_id').notNull(),
    /** The counts of each type, by its name. */
    types: json('types').notNull(),
    /** The counts of all types together. */
    total: json('total').notNull(),
  },
  table => [
    primaryKey({
      name: 'statistics_rollups_pkey',
      columns: [table.tenantId, table.level, table.startsAt, table.whose, table.organizationId],
    }),
    check('statistics_rollups_level', sql`level IN ('hour', 'day', 'month')`),
    check('statistics_rollups_whose', sql`whose BETWEEN 0 AND 2`),
  ],
)

/**
 * Hours in which finished jobs have changed afterwards, until these have been counted again. Marks are only added and removed, so
 * that no transaction waits for another one.
 */
export const statisticsMarks = publicTable(
  'statistics_marks',
  {
    id: bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey(),
    tenantId: uuid('tenant_id').notNull(),
    hour: time('hour').notNull(),
  },
  table => [index('statistics_marks_hour').on(table.tenantId, table.hour)],
)

/**
 * How far the roll-ups have come, in one row: of all days from `daysFrom` to `daysUntil`, and of the hours from there to
 * `hoursUntil`. It tells what is to be rolled up next. What is read is decided by the rows of `statistics_rollups`.
 */
export const statisticsCoverage = publicTable(
  'statistics_coverage',
  {
    single: boolean('single').primaryKey().default(true),
    daysFrom: time('days_from').notNull(),
    daysUntil: time('days_until').notNull(),
    hoursUntil: time('hours_until').notNull(),
    /** Months all of whose days are stored, while some tenants have no row of them. */
    pendingMonths: time('pending_months')
      .array()
      .notNull()
      .default(sql`'{}'`),
  },
  () => [check('statistics_coverage_single', sql`single`)],
)
