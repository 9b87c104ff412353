import { uuid } from './drizzle.ts'
import { publicTable, time } from './columns.ts'

/**
 * The processes that take heartbeats. One that is missing delays verdicts: its workers may be about to report to another
 * process.
 */
export const serviceProcesses = publicTable('service_processes', {
  id: uuid('id').primaryKey(),
  startedAt: time('started_at').notNull(),
  seenAt: time('seen_at').notNull(),
  /** Since when this process has swept on time and reached the database. */
  healthySince: time('healthy_since').notNull(),
  /** All reports that this process received before this moment are written, except those for `waiting_job_ids`. */
  heardUntil: time('heard_until'),
  /** Jobs whose reports wait in this process because another session has locked them: they are not judged. */
  waitingJobIds: uuid('waiting_job_ids').array(),
})
