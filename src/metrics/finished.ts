import { isFinished } from '../contract/states.ts'
import { Counter, type Registry } from 'prom-client'
import type { JobChange } from '../contract/change.ts'

/** Each type makes three series at most. Callers choose the types freely, so further types are counted as `other`. */
const MAX_TYPES = 100

/**
 * Counts the ends of jobs: those that this process has made, by calls and by its sweeps, and those that workers made in SQL and
 * this process was the first to read.
 */
export const createFinishedCount = (registry: Registry): ((changes: readonly JobChange[]) => void) => {
  const types = new Set<string>()
  const finished = new Counter({
    name: 'headway_jobs_finished_total',
    help: `Ends of jobs that this process has made, or was the first to hear of where SQL made them, by outcome and type; types beyond the first ${MAX_TYPES} are other`,
    labelNames: ['outcome', 'job_type'],
    registers: [registry],
  })
  const labelOf = (jobType: string): string => {
    if (types.size < MAX_TYPES) types.add(jobType)
    return types.has(jobType) ? jobType : 'other'
  }
  return changes => {
    for (const { event, jobType } of changes)
      if (event && jobType !== undefined && isFinished({ status: event }))
        finished.inc({ outcome: event, job_type: labelOf(jobType) })
  }
}
