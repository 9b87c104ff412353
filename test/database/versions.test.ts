import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { FUNCTIONS, GENERATION, schemaOf } from '../../src/database/functions.ts'
import { migrate } from '../../src/database/migrate.ts'
import type { JobDocument } from '../../src/contract/job.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeDirectory, spawnService } from '../helpers/process.ts'
import { waitFor } from '../helpers/wait.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** Replaces a text of a file, and fails if the file does not have it. */
const edit = (path: string, from: string, to: string): void => {
  const before = readFileSync(path, 'utf8')
  const after = before.replace(from, to)
  if (after === before) throw new Error(`${path} has no ${from}`)
  writeFileSync(path, after)
}

/** The built service as a later version of it would be, which calls its hot function in another way. */
const buildVersion = (t: Test, generation: number) => {
  const directory = makeDirectory(t)
  for (const name of ['dist', 'drizzle', 'package.json'])
    cpSync(ROOT + name, `${directory}/${name}`, { recursive: true })
  symlinkSync(`${ROOT}node_modules`, `${directory}/node_modules`)
  const functions = `${directory}/dist/database/functions/`
  edit(`${functions}generation.json`, `"generation": ${GENERATION}`, `"generation": ${generation}`)
  edit(`${functions}flush.sql`, 'headway.flush(', `headway.flush(of_version integer,`)
  edit(`${functions}workers.sql`, 'headway.flush(', `headway.flush(${generation}, `)
  edit(`${directory}/dist/jobs/heartbeats/statement.js`, '.flush(', `.flush(${generation}, `)
  return { main: `${directory}/dist/main.js`, cli: `${directory}/dist/cli/main.js`, functions }
}

/** Runs `headway migrate` of a version; answers its exit code and its output. */
const migrateBy = async ({ cli }: { cli: string }, { url }: TestDatabase) => {
  const child = spawn(process.execPath, [cli, 'migrate'], { env: { PATH: process.env['PATH'], DATABASE_URL: url } })
  const [said] = await Promise.all([text(child.stderr), once(child, 'close')])
  return { code: child.exitCode, said }
}

const schemasOf = async ({ pool }: TestDatabase): Promise<string[]> => {
  const { rows } = await pool.query<{ nspname: string }>(
    "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'headway') ORDER BY 1",
  )
  return rows.map(row => row.nspname)
}

const REFUSAL = /A newer Headway has been started on this database.* Start that version, or a later one/

t.test(
  'two versions work beside each other during an upgrade, and the older version cannot start afterwards',
  async t => {
    const database = await createTestDatabase(t)
    const settings = { DATABASE_URL: database.url }
    const next = buildVersion(t, GENERATION + 1)
    const older = await spawnService(t, settings).ready()
    const call = async (url: string, method: string, path: string, body?: object) => {
      const response = await fetch(`${url}/api/progress${path}`, {
        method,
        ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      })
      return { status: response.status, body: (await response.json()) as JobDocument }
    }
    const { body: job } = await call(older.url, 'POST', '/jobs', { name: 'a job', jobType: 'test' })

    let sent = 0
    let upgrading = true
    const report = async () => {
      while (upgrading) {
        sent += 1
        const path = `/jobs/${job.id}/increment`
        const { status } = await call(older.url, 'POST', path, { workerId: 'old', increment: 1 })
        t.ok(status === 200 || status === 202, String(status))
      }
    }
    const reporting = report()
    const newer = await spawnService(t, settings, next.main).ready()
    upgrading = false
    await reporting
    t.same(await schemasOf(database), ['headway', FUNCTIONS, schemaOf(GENERATION + 1)].sort())
    /** From now on both write to disk at once, and calls in SQL work as well. */
    const bothWork = async () => {
      for (const { url } of [older, newer]) {
        const path = `/jobs/${job.id}/increment`
        t.match(await call(url, 'POST', path, { workerId: 'old', increment: 1 }), {
          status: 200,
          body: { durable: true },
        })
        sent += 1
        t.equal((await fetch(`${url}/readyz`)).status, 200)
      }
      await database.pool.query("SELECT headway.update_job_progress($1, message => 'by SQL')", [job.id])
      const read = () => call(older.url, 'GET', `/jobs/${job.id}`)
      await waitFor(async () => (await read()).body.processedCount === sent)
      t.equal((await read()).body.message, 'by SQL')
    }
    await bothWork()

    const late = spawnService(t, settings)
    t.match(await late.exited, { code: 1 })
    t.match(late.stderr, REFUSAL)
    await bothWork()

    const broken = buildVersion(t, GENERATION + 2)
    edit(`${broken.functions}workers.sql`, 'SELECT', 'SELEKT')
    writeFileSync(`${broken.functions}zzz.sql`, 'CREATE FUNCTION headway.broken() RETURNS nothing LANGUAGE sql AS $$$$')
    t.not((await migrateBy(broken, database)).code, 0)
    t.same(await schemasOf(database), ['headway', FUNCTIONS, schemaOf(GENERATION + 1)].sort(), 'as it was')
    await bothWork()

    await Promise.all([older.kill('SIGTERM'), newer.kill('SIGTERM')])
    const again = await spawnService(t, settings, next.main).ready()
    t.match(await call(again.url, 'POST', `/jobs/${job.id}/complete`), { status: 200 })
    t.match(await migrateBy(buildVersion(t, GENERATION + 2), database), { code: 0 })
    const kept = ['headway', schemaOf(GENERATION + 1), schemaOf(GENERATION + 2)]
    t.same(await schemasOf(database), kept.sort(), 'all but the one before')
    const countTriggers = async () => {
      const text = "SELECT FROM pg_trigger WHERE tgrelid = 'job_events'::regclass AND NOT tgisinternal"
      return (await database.pool.query(text)).rowCount
    }
    t.equal(await countTriggers(), 5, 'one that tells of changes, and four that mark them for statistics')
    t.match(await migrateBy(next, database), { said: REFUSAL })

    await database.pool.query(`DROP SCHEMA ${schemaOf(GENERATION + 2)} CASCADE`)
    t.match(await migrateBy(next, database), { code: 0 }, 'who wants to go back drops what is newer')
    t.same(await schemasOf(database), ['headway', schemaOf(GENERATION + 1)].sort())
    t.equal(await countTriggers(), 5)
    await database.pool.query("SELECT headway.complete_job_progress($1, 'again')", [job.id])
  },
)

t.test('a version refuses a database whose tables or functions are newer', async t => {
  const database = await createTestDatabase(t)
  const { pool } = database
  const newer = schemaOf(GENERATION + 7)
  await pool.query(`CREATE SCHEMA ${newer}`)
  await migrate(database.url)
  t.ok((await schemasOf(database)).includes(newer), 'a schema of somebody else is left alone')
  await pool.query(`COMMENT ON SCHEMA ${newer} IS 'Functions of Headway 1234'`)
  await t.rejects(migrate(database.url), { code: 'database_unavailable', message: REFUSAL })
  await pool.query(`DROP SCHEMA ${newer}`)
  await migrate(database.url)
  await pool.query(
    "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) SELECT 'of a newer one', max(created_at) + 1 FROM drizzle.__drizzle_migrations",
  )
  await t.rejects(migrate(database.url), { code: 'database_unavailable', message: REFUSAL })
})
