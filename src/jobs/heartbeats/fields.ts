import type { Heartbeat } from '../../contract/heartbeat.ts'

/** The fields of a heartbeat, without the job and worker that it is about. */
export type HeartbeatField = Exclude<keyof Heartbeat, 'jobId' | 'workerId'>

interface FieldRules {
  /** The field's name in headway.heartbeat (types.sql), and its column of job_progress if it has one. */
  column: string
  /** Whether null clears the value. */
  clearable: boolean
  /**
   * Whether headway.flush_plain takes the field as a parameter. A report without other fields is written by that shorter way.
   */
  plain: boolean
  /** Whether the field is about the worker's progress. The others say when the report was made, and for which attempt. */
  progress: boolean
}

const progress = (column: string, rules: Partial<FieldRules> = {}): FieldRules => ({
  column,
  clearable: false,
  plain: false,
  progress: true,
  ...rules,
})

/** The one table of a heartbeat's fields. The statement, the merging of reports and the choice of plain reports use it. */
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
  due: progress('due', { clearable: true }),
  reportedAt: { column: 'reported_at', clearable: false, plain: true, progress: false },
  attempt: { column: 'attempt', clearable: false, plain: true, progress: false },
}

/** The same table as a list. */
export const FIELD_ENTRIES = Object.entries(HEARTBEAT_FIELDS) as [HeartbeatField, FieldRules][]
