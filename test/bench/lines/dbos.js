// DBOS, which gives the same promise: what was reported is on the disk of a Postgres.
import { startWorker } from '../environment/processes.js'
import { requirePeers } from '../environment/programs.js'

const CONCURRENCY = 64

export const DBOS = `DBOS setEvent in-process, ${CONCURRENCY} workflows at a time`

/** A contestant that calls DBOS in its own process, on a database of its own. */
export const dbos = ({ postgres, seconds, warmupSeconds }) => ({
  name: DBOS,
  start: async () => {
    requirePeers()
    const databaseUrl = await postgres.createDatabase()
    const worker = await startWorker(new URL('../peers/dbos.js', import.meta.url), { databaseUrl })
    return {
      measure: () => worker.call('measure', { concurrency: CONCURRENCY, seconds, warmupSeconds }),
      processes: async () => ({ service: [worker.pid], database: await postgres.backends(databaseUrl) }),
      stop: worker.stop,
    }
  },
})
