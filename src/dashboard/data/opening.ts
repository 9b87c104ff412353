import type { JobWithWorkers } from '../../contract/job.ts'
import { headway } from '../feed.ts'
import { currentRoute } from '../router.ts'

/** A picture that is replaced at once costs as much as one that stays, so the first one waits this long for what it shows. */
const PATIENCE_MS = 300

const route = currentRoute()
// Asked before the modules that show it have run. The stream of all jobs is opened at the same time.
let asked = route.page === 'job' ? { id: route.id, job: headway.api.job(route.id) } : null
const answer = asked?.job
// With another token it is asked again.
answer?.catch(() => (asked = null))

/** The answer that is under way for the job with whose page the visit begins; null for any other, and when it is asked again. */
export const openingJob = (id: string): Promise<JobWithWorkers> | null => {
  const job = asked?.id === id ? asked.job : null
  asked = null
  return job
}

/** Resolves when the page with which the visit begins has its data, or knows why not, and at the latest after `PATIENCE_MS`. */
export const opened: Promise<void> = new Promise(resolve => {
  const done = (): void => resolve()
  setTimeout(done, PATIENCE_MS)
  if (answer !== undefined) answer.then(done, done)
  else if (route.page !== 'jobs' || route.query.get('view') === 'history') done()
  else {
    const stop = headway.subscribe(() => {
      stop()
      done()
    })
  }
})
