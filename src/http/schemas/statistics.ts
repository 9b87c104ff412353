import { z } from 'zod'
import { STATISTICS_BUCKETS, type Statistics } from '../../contract/statistics.ts'
import { instant, text } from './primitives.ts'

export const statisticsQuery = z.strictObject({
  jobType: text(1, 100).exactOptional().describe('Only this type.'),
  since: instant
    .exactOptional()
    .describe('Jobs that finished then or later; 7 days before `until` by default, at most 366.'),
  until: instant.exactOptional().describe('Jobs that finished before; by default now.'),
  bucket: z
    .enum(STATISTICS_BUCKETS, "must be 'hour', 'day' or 'week'")
    .exactOptional()
    .describe('For `series`: at most 1,000 periods.'),
})

export const statisticsExample: Statistics = {
  since: '2026-01-24T12:00:00.000Z',
  until: '2026-01-31T12:00:00.000Z',
  types: [
    {
      jobType: 'import:products',
      completed: 38,
      failed: 2,
      cancelled: 1,
      failureRate: 0.05,
      durationSeconds: { p50: 96.4, p95: 240.125, max: 301.7 },
      itemsPerSecond: 12.5,
      unit: 'rows',
      stale: 1,
      recovered: 1,
      late: 2,
      lateSeconds: { p50: 31.5, max: 48 },
    },
  ],
}

const seconds = z.number().nullable()

const periodStatistics = z
  .object({
    start: z.iso.datetime(),
    completed: z.int(),
    failed: z.int(),
    cancelled: z.int(),
    durationSeconds: z.object({ p50: seconds, p95: seconds }),
    late: z.int(),
  })
  .meta({ id: 'PeriodStatistics' })

const typeStatistics = z
  .object({
    jobType: z.string(),
    completed: z.int(),
    failed: z.int(),
    cancelled: z.int(),
    failureRate: z.number().nullable().describe('failed / (completed + failed); null for none of both.'),
    durationSeconds: z
      .object({ p50: seconds, p95: seconds, max: seconds })
      .describe('Of completed jobs, from start to end; null for none. Percentiles of many are within 1 %.'),
    itemsPerSecond: z
      .number()
      .nullable()
      .describe('Of completed jobs that counted: all counts by all their time. null: none did, or units differ.'),
    unit: z.string().nullable().describe('What is counted; null where `itemsPerSecond` is.'),
    stale: z
      .int()
      .describe('Jobs, running or finished, that were ended for their silence in this time. Partitions count here.'),
    recovered: z.int().describe('Those among the stale that turned out to be alive.'),
    late: z.int().describe('Jobs that ended after their deadline, with any status.'),
    lateSeconds: z.object({ p50: seconds, max: seconds }).describe('By how much; null when there were none.'),
  })
  .meta({ id: 'TypeStatistics' })

export const statistics = z
  .object({
    since: z.iso.datetime(),
    until: z.iso.datetime(),
    types: z.array(typeStatistics).describe('By name. A batch is one job.'),
    series: z.array(periodStatistics).exactOptional().describe('All types, by periods in UTC (weeks from Monday).'),
  })
  .meta({ id: 'Statistics', examples: [statisticsExample] }) satisfies z.ZodType<Statistics>
