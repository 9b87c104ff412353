// How long each list takes that the dashboard, the command, assistants and pages ask for, beside many finished jobs:
// `npm run bench:lists -- --jobs 1000000`. `--database <url>` measures a database that an earlier run has filled and kept
// (`--keep` prints its URL and leaves the server running until the process is ended). With `--against <url>` as well, it compares
// what changes of jobs cost in both.
import { parseArgs } from 'node:util'
import pg from 'pg'
import { build } from '../environment/build.js'
import { startPostgres } from '../environment/postgres.js'
import { fill } from './fill.js'

const SIZES = `
  SELECT c.relname AS name, pg_relation_size(c.oid) / 1048576.0 AS megabytes
  FROM pg_class c WHERE c.oid = 'public.progress_jobs'::regclass
    OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'public.progress_jobs'::regclass)
  ORDER BY c.relkind DESC, 2 DESC`

const printSizes = async url => {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query(SIZES)
  await client.end()
  console.log('\nMB')
  for (const { name, megabytes } of rows) console.log(`${Number(megabytes).toFixed(1).padStart(8)}  ${name}`)
}

const main = async () => {
  const { values } = parseArgs({
    options: {
      jobs: { type: 'string', default: '1000000' },
      times: { type: 'string', default: '20' },
      only: { type: 'string', default: '' },
      database: { type: 'string' },
      against: { type: 'string' },
      keep: { type: 'boolean', default: false },
    },
  })
  build()
  const { migrate } = await import('../../../dist/database/migrate.js')
  const { measureLists } = await import('./measure.js')
  const options = { times: Number(values.times), only: values.only }
  if (values.against !== undefined) {
    const { compareChanges } = await import('./changing.js')
    return compareChanges(values.database, values.against)
  }
  if (values.database !== undefined) {
    await migrate(values.database)
    await measureLists(values.database, options)
    await printSizes(values.database)
    return
  }
  const postgres = await startPostgres()
  try {
    const url = await postgres.createDatabase()
    await migrate(url)
    const startedMs = Date.now()
    await fill(url, Number(values.jobs))
    console.log(
      `${values.jobs} jobs in ${((Date.now() - startedMs) / 1000).toFixed(0)} s, PostgreSQL ${postgres.version}`,
    )
    await measureLists(url, options)
    await printSizes(url)
    if (values.keep) {
      console.log(`\nKept until this process is ended: ${url}`)
      await new Promise(resolve => process.once('SIGTERM', resolve).once('SIGINT', resolve))
    }
  } finally {
    await postgres.stop()
  }
}

await main()
process.exit()
