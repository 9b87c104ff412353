import { Counter, type Registry } from 'prom-client'
import type { JobChange } from '../contract/change.ts'

const ALARMS = ['at_risk', 'overdue'] as const

/** Counts the jobs that the sweeps of this process found at risk of missing their deadline, or overdue. */
export const createDeadlineCount = (registry: Registry): ((changes: readonly JobChange[]) => void) => {
  const alarms = new Counter({
    name: 'headway_deadline_alarms_total',
    help: 'Jobs that this process found at risk of missing their deadline, or overdue',
    labelNames: ['deadline'],
    registers: [registry],
  })
  for (const deadline of ALARMS) alarms.inc({ deadline }, 0)
  return changes => {
    for (const { event } of changes) {
      const deadline = ALARMS.find(each => each === event)
      if (deadline !== undefined) alarms.inc({ deadline })
    }
  }
}
