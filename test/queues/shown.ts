import type { ListedJob } from '../../src/contract/job.ts'
import type { Service } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

/** The job that Headway shows, as soon as there is such a one. */
export const shown = async (service: Service, isSo: (job: ListedJob) => boolean): Promise<ListedJob> =>
  (await waitFor(
    async () => {
      const { body } = await service.call<{ items: ListedJob[] }>('GET', '/jobs?includeCompleted=true')
      return body.items.find(isSo)
    },
    { timeoutMs: 15_000 },
  ))!

/** Resolves when the signal aborts. */
export const aborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise(resolve => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', resolve, { once: true })
  })

const QUEUE = 'queue of a test'

/** Where a queue finds the database of the service. */
export const queueUrl = ({ database }: Service): string => {
  const url = new URL(database.url)
  url.searchParams.set('application_name', QUEUE)
  return url.href
}

/**
 * Waits until the sessions of the queue have ended. They end after the pool of the queue says so, and a session that is ended with
 * the database raises an error that nobody listens for any more.
 */
export const sessionsEnded = ({ database }: Service): Promise<unknown> =>
  waitFor(async () => {
    const { rows } = await database.pool.query(
      'SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1',
      [QUEUE],
    )
    return rows.length === 0
  })
