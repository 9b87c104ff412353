import t, { type Test } from 'tap'
import { openDatabase } from '../../src/database/connection.ts'
import { sqlStateOf } from '../../src/database/failures.ts'
import type { ListedJob } from '../../src/contract/job.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { startService, type Service } from '../helpers/service.ts'

const POOLER = { DATABASE_PREPARED_STATEMENTS: 'false' }
const LOOPBACK = { WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1' }

/** As an administrator would, for all sessions that begin from now on. */
const setDefault = ({ url, pool }: TestDatabase, setting: string) =>
  pool.query(`ALTER DATABASE "${new URL(url).pathname.slice(1)}" SET ${setting}`)

/** Has the database write down with which settings transactions that wrote into `tables` came to their end. */
const watchCommits = async ({ pool }: TestDatabase, tables: string[]) => {
  await pool.query(`
    CREATE TABLE commits (table_name text, synchronous_commit text, isolation text, jit text);
    CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO public.commits VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'),
        current_setting('transaction_isolation'), current_setting('jit'));
      RETURN NULL;
    END $$`)
  for (const table of tables)
    await pool.query(`CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON ${table}
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()`)
  return async (column: 'synchronous_commit' | 'isolation' | 'jit') => {
    const { rows } = await pool.query<{ table_name: string; value: string }>(
      `SELECT DISTINCT table_name, ${column} AS value FROM commits ORDER BY 1, 2`,
    )
    return rows.map(row => `${row.table_name} ${row.value}`)
  }
}

const JOB_TABLES = ['progress_jobs', 'job_progress']

/** Every kind of write that is answered as done. */
const writeEverything = async (t: Test, service: Service) => {
  const ok = async (method: string, path: string, body?: unknown) => {
    const answer = await service.call<{ id: string; status: string }>(method, path, body)
    t.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body
  }
  const { id } = await ok('POST', '/jobs', { jobType: 'a', name: 'a', cancellable: true })
  await ok('POST', `/jobs/${id}/start`)
  await ok('POST', `/jobs/${id}/heartbeat`, { processedCount: 1 })
  await ok('POST', `/jobs/${id}/heartbeat`, { progressPercent: 5, stage: 'b' })
  await ok('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
  await ok('POST', `/jobs/${id}/retry`)
  await ok('POST', `/jobs/${id}/cancel`)
  const { id: purged } = await ok('POST', '/jobs', { jobType: 'a', name: 'a' })
  await ok('POST', `/jobs/${purged}/complete`, {})
  await ok('DELETE', `/jobs/${purged}?purge=true`)
  const webhook = await ok('POST', '/webhooks', { url: 'http://127.0.0.1:1/' })
  await ok('PUT', `/webhooks/${webhook.id}`, { enabled: false })
}

t.test('a change is on disk before it is answered as done, also on a server that does not wait by default', async t => {
  const database = await createTestDatabase(t)
  await setDefault(database, 'synchronous_commit = off')
  const commits = await watchCommits(database, [...JOB_TABLES, 'webhooks'])
  await writeEverything(t, await startService(t, { database, ...LOOPBACK }))
  t.same(await commits('synchronous_commit'), ['job_progress on', 'progress_jobs on', 'webhooks on'])
})

t.test('behind a pooler, heartbeats and commands wait for the disk as well', async t => {
  const database = await createTestDatabase(t)
  await setDefault(database, 'synchronous_commit = off')
  const commits = await watchCommits(database, ['job_progress'])
  await database.pool.query(`CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE ON progress_jobs
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()`)
  await writeEverything(t, await startService(t, { database, ...LOOPBACK, ...POOLER }))
  t.same(await commits('synchronous_commit'), ['job_progress on', 'progress_jobs on'])
})

t.test('the settings local and stricter ones of synchronous_commit are kept', async t => {
  for (const value of ['remote_apply', 'remote_write', 'local']) {
    const database = await createTestDatabase(t)
    await setDefault(database, `synchronous_commit = ${value}`)
    const commits = await watchCommits(database, ['progress_jobs'])
    await (await startService(t, { database })).createJob()
    t.same(await commits('synchronous_commit'), [`progress_jobs ${value}`])
  }
})

t.test("the service's own sessions use READ COMMITTED and no jit, whatever the defaults are", async t => {
  const database = await createTestDatabase(t)
  await setDefault(database, 'default_transaction_isolation = serializable')
  await setDefault(database, 'jit = on')
  const commits = await watchCommits(database, [...JOB_TABLES, 'webhooks'])
  await writeEverything(t, await startService(t, { database, ...LOOPBACK }))
  t.same(
    await commits('isolation'),
    [...JOB_TABLES, 'webhooks'].sort().map(table => `${table} read committed`),
  )
  t.same(
    await commits('jit'),
    [...JOB_TABLES, 'webhooks'].sort().map(table => `${table} off`),
  )
})

/** Two replicas, and all that can be done to a batch at the same time. */
const crowdBatch = async (t: Test, database: TestDatabase) => {
  const replicas = await Promise.all([1, 2].map(() => startService(t, { database, ...LOOPBACK, ...POOLER })))
  const service = replicas[0]!
  const partitions = Array.from({ length: 16 }, (_, n) => ({ name: `p${n}` }))
  const { id } = await service.createJob({ partitions, cancellable: true })
  await service.call('POST', '/webhooks', { url: 'http://127.0.0.1:1/', topLevel: false })
  const { body } = await service.call<{ items: ListedJob[] }>('GET', `/jobs?parentJobId=${id}&pageSize=100`)
  const answers = await Promise.all(
    body.items.map(async (partition, n) => {
      const replica = replicas[n % 2]!
      const report = await replica.heartbeat(partition.id, { processedCount: n, totalCount: 20 })
      const [read, end] = await Promise.all([
        replica.call('GET', `/jobs/${id}`),
        n % 4 === 0
          ? replica.call('POST', `/jobs/${partition.id}/fail`, { errorMessage: 'no' })
          : replica.call('POST', `/jobs/${partition.id}/complete`, {}),
      ])
      const again = n % 4 === 0 ? [await replica.call('POST', `/jobs/${partition.id}/retry`)] : []
      return [report, read, end, ...again].map(({ status }) => status)
    }),
  )
  return { answers: answers.flat(), batch: await service.job(id) }
}

for (const isolation of ['serializable', 'repeatable read']) {
  t.test(`behind a pooler that is ${isolation}, conflicting transactions are retried until they are done`, async t => {
    const database = await createTestDatabase(t)
    await setDefault(database, `default_transaction_isolation = '${isolation}'`)
    const { answers, batch } = await crowdBatch(t, database)
    // 202: a busy machine keeps a report for later, which may begin a partition anew that was retried meanwhile.
    t.ok(
      answers.every(status => status === 200 || status === 202),
      answers.join(' '),
    )
    const { completed, failed, pending, running } = batch.children!
    t.same([completed, failed, pending + running], [12, 0, 4])
  })
}

t.test('a transaction that always conflicts is not retried for ever, and no other failure is retried', async t => {
  const { url, pool } = await createTestDatabase(t)
  const database = openDatabase({ url, poolSize: 3, preparedStatements: true, onConnectionError: () => undefined })
  t.teardown(() => database.close())
  await pool.query(`CREATE FUNCTION fail_with(state text, attempts regclass) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
      RAISE EXCEPTION 'attempt %', nextval(attempts) USING ERRCODE = state;
    END $$`)
  const attemptsOf = async (name: string, state: string, call: (text: string) => Promise<unknown>) => {
    await pool.query(`CREATE SEQUENCE ${name}`)
    const error: unknown = await call(`SELECT public.fail_with('${state}', 'public.${name}')`).catch(
      (cause: unknown) => cause,
    )
    t.equal(sqlStateOf(error), state)
    const { rows } = await pool.query<{ n: string }>(`SELECT last_value AS n FROM ${name}`)
    return Number(rows[0]?.n)
  }
  const query = (text: string) => database.query(null, text, [])
  const conflicts = await Promise.all([
    attemptsOf('hot', '40001', query),
    attemptsOf('ordinary', '40P01', text => database.drizzle.execute(text)),
    attemptsOf('several', '40001', text => database.transaction(transaction => transaction.execute(text))),
  ])
  t.same(conflicts, [20, 20, 20])
  for (const state of ['55P03', '23505', '57014', '40003'])
    t.equal(await attemptsOf(`once_${state}`, state, query), 1, state)
})
