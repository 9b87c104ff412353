import type { Heartbeat } from '../../contract/heartbeat.ts'

/** What a heartbeat says, beside whose it is. */
export type HeartbeatField = Exclude<keyof Heartbeat, 'jobId' | 'workerId'>

interface FieldRules {
  /** Its name in headway.heartbeat (types.sql), and where it has one its column of job_progress. */
  column: string
  /** `null` clears it. */
  clearable: boolean
  /** A report with nothing else is written in the shorter way (headway.flush_plain), which takes it as a parameter. */
  plain: boolean
  /** It is about the worker's progress. What is not only says when the report was made, and for which attempt. */
  progress: boolean
}

const progress = (column: string, rules: Partial<FieldRules> = {}): FieldRules => ({
  column,
  clearable: false,
  plain: false,
  progress: true,
  ...rules,
})

/** The one table of a heartbeat's fields, which the statement, the merging of reports and the test of plainness go by. */
export const HEARTBEAT_FIELDS: Readonly<Record<HeartbeatField, FieldRules>> = {
  processedCount: progress('processed_count', { plain: true }),
  increment: progress('increment', { plain: true }),
  totalCount: progress('total_count', { plain: true, clearable: true }),
  progressPercent: progress('progress_percent', { clearable: true }),
  unit: progress('unit'),
  throughputPerSecond: progress('throughput_per_second', { clearable: true }),
  etaSeconds: progress('eta_seconds', { clearable: true }),
  stage: progress('stage', { clearable: true }),
  message: progress('message', { plain: true, clearable: true }),
  payload: progress('payload', { clearable: true }),
  meta: progress('meta'),
  reportedAt: { column: 'reported_at', clearable: false, plain: true, progress: false },
  attempt: { column: 'attempt', clearable: false, plain: true, progress: false },
}

/** Them, as a list. */
export const FIELD_ENTRIES = Object.entries(HEARTBEAT_FIELDS) as [HeartbeatField, FieldRules][]
