import { HEARTBEAT_FIELDS, type HeartbeatField } from '../../contract/heartbeat.ts'

interface Field {
  name: HeartbeatField
  /** The name in headway.heartbeat (types.sql), and of the column of job_progress if there is one. */
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

/** What PLAIN_COLUMNS (statement.ts) hands to headway.flush_plain. */
const PLAIN: readonly HeartbeatField[] = [
  'processedCount',
  'increment',
  'totalCount',
  'message',
  'reportedAt',
  'attempt',
]
const NO_PROGRESS: readonly HeartbeatField[] = ['reportedAt', 'attempt']

const columnOf = (name: string): string => name.replaceAll(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)

/** The fields of a heartbeat as the merging of reports, the choice of plain reports and the statement need them. */
export const FIELDS: readonly Field[] = (Object.keys(HEARTBEAT_FIELDS) as HeartbeatField[]).map(name => ({
  name,
  column: columnOf(name),
  clearable: HEARTBEAT_FIELDS[name].clearable,
  plain: PLAIN.includes(name),
  progress: !NO_PROGRESS.includes(name),
}))
