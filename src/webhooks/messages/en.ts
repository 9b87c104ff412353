import type { FailureReason } from '../../contract/states.ts'

/** What a message says of a job's state. */
export type ShownState = 'pending' | 'running' | 'cancelling' | 'stalled' | 'completed' | 'failed' | 'cancelled'

/** The words of messages to chats and mail. Numbers and times are texts in the language already. */
export interface Words {
  state: Readonly<Record<ShownState, string>>
  after: (time: string) => string
  atRisk: string
  overdue: string
  /** The job ended after its deadline. */
  late: string
  unusual: (usual: string) => string
  ofTotal: (processed: string, total: string) => string
  left: (time: string) => string
  parts: (completed: string, total: string) => string
  failedParts: (count: string) => string
  stalledParts: (count: string) => string
  now: string
  more: (count: string) => string
  stage: string
  startedBy: string
  attempt: (number: string) => string
  reason: Readonly<Record<Exclude<FailureReason, 'worker'>, string>>
  error: string
  open: string
  /** Of a test message. */
  test: string
  testDetail: string
}

export const en: Words = {
  state: {
    pending: 'Pending',
    running: 'Running',
    cancelling: 'Cancelling',
    stalled: 'Stalled',
    completed: 'Completed',
    failed: 'Failed',
    cancelled: 'Cancelled',
  },
  after: time => `after ${time}`,
  atRisk: 'At risk of being late',
  overdue: 'Overdue',
  late: 'Late',
  unusual: usual => `Longer than usual (usually ${usual})`,
  ofTotal: (processed, total) => `${processed} of ${total}`,
  left: time => `${time} left`,
  parts: (completed, total) => `${completed} of ${total} parts completed`,
  failedParts: count => `${count} failed`,
  stalledParts: count => `${count} stalled`,
  now: 'Now:',
  more: count => `and ${count} more`,
  stage: 'Stage:',
  startedBy: 'Started by',
  attempt: number => `Attempt ${number}`,
  reason: {
    stale: 'Its workers were silent',
    never_started: 'It was never started',
    partitions: 'Parts of it failed',
  },
  error: 'Error:',
  open: 'Open in Headway',
  test: 'Test message of Headway',
  testDetail: 'Messages about jobs arrive here.',
}
