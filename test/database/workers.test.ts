import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import pg from 'pg'
import t, { type Test } from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { migrate } from '../../src/database/migrate.ts'
import type { JobDocument, ListedJob } from '../../src/contract/job.ts'
import type { JobChange } from '../../src/contract/change.ts'
import { decodePayload } from '../../src/live/payload.ts'
import { isInLine, isVisible } from '../../src/contract/shown-text.ts'
import { createTestDatabase, withDatabase } from '../helpers/database.ts'
import { makeDirectory, postgresOf, spawnService } from '../helpers/process.ts'
import { startService } from '../helpers/service.ts'
import { SHOWN_TEXTS, UNSHOWN_TEXTS } from '../helpers/shown-texts.ts'
import { openStream } from '../helpers/stream.ts'
import { waitFor } from '../helpers/wait.ts'

const WORKERS_SQL = readFileSync(new URL('../../src/database/functions/workers.sql', import.meta.url), 'utf8')
const UNKNOWN_JOB = '00000000-0000-4000-8000-000000000000'
const PASSWORD = 'a role of one test'

const database = await createTestDatabase(t)

/** A name that no other run uses: roles belong to the whole server. */
const newRole = async (membership: string): Promise<string> => {
  const name = `headway_test_${randomBytes(6).toString('hex')}`
  await database.pool.query(`CREATE ROLE ${name} LOGIN PASSWORD '${PASSWORD}' ${membership}`)
  t.teardown(async () => {
    const admin = new pg.Client(process.env['TEST_DATABASE_URL'])
    await database.drop()
    await admin.connect()
    await admin.query(`DROP ROLE ${name}`)
    await admin.end()
  })
  return name
}

const connectAs = async (t: Test, role: string, to = database): Promise<pg.Client> => {
  const url = new URL(to.url)
  url.username = role
  url.password = encodeURIComponent(PASSWORD)
  const client = new pg.Client(url.href)
  client.on('error', () => undefined)
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** A server of its own, because the test changes roles, which belong to the whole server; and connections as its owner. */
const startServer = async (t: Test) => {
  const dataDir = makeDirectory(t)
  await spawnService(t, { HEADWAY_DATA_DIR: dataDir }).ready()
  const url = postgresOf(dataDir).url()
  const connect = async (to = url): Promise<pg.Client> => {
    const client = new pg.Client(to)
    client.on('error', () => undefined)
    await client.connect()
    t.teardown(() => client.end())
    return client
  }
  return { url, connect }
}
const server = await startServer(t)

const member = await newRole('IN ROLE headway_worker')
const stranger = await newRole('')
const service = await startService(t, { database })
const worker = await connectAs(t, member)

interface Answer {
  jobId: string
  workerId: string
  status: string
  cancelRequested: boolean
  progressPercent: number
  revision: number
}

const ask = async (client: pg.Client, call: string, values: unknown[]): Promise<Answer> => {
  const { rows } = await client.query<{ answer: Answer }>(`SELECT headway.${call} AS answer`, values)
  if (!rows[0]) throw new Error('no answer')
  return rows[0].answer
}

const update = (client: pg.Client, ...values: unknown[]) =>
  ask(client, `update_job_progress(${values.map((_, n) => `$${n + 1}`).join(', ')})`, values)
const complete = (client: pg.Client, ...values: unknown[]) =>
  ask(client, `complete_job_progress(${values.map((_, n) => `$${n + 1}`).join(', ')})`, values)
const error = (client: pg.Client, jobId: string | null, message: string | null) =>
  ask(client, 'error_job_progress($1, $2)', [jobId, message])

const historyOf = async (id: string) => {
  const { body } = await service.call<{ items: { type: string; actor: string | null; data: object }[] }>(
    'GET',
    `/jobs/${id}/events`,
  )
  return body.items
}

t.test('a worker in SQL reports, completes and fails jobs like a worker over HTTP', async t => {
  const { id } = await service.createJob()
  t.same(await update(worker, id, 'load', 5, 20, 'five'), {
    jobId: id,
    workerId: 'default',
    status: 'running',
    cancelRequested: false,
    progressPercent: 25,
    revision: 2,
  })
  const job = await service.job(id)
  t.match(job, { stage: 'load', processedCount: 5, totalCount: 20, message: 'five', liveness: 'ok' })
  t.match(job.workers, [{ workerId: 'default', processedCount: 5, stage: 'load' }])
  t.match(await update(worker, id), { revision: 2, progressPercent: 25 }, 'a bare heartbeat')
  t.match(await update(worker, id, null, 10), { progressPercent: 50 })
  t.match(await service.job(id), { stage: 'load', totalCount: 20, message: 'five' }, 'null leaves what it was')
  t.match(await complete(worker, id, 'done'), { status: 'completed', progressPercent: 100 })
  t.match(await service.job(id), { status: 'completed', processedCount: 10, message: 'done', etaSeconds: 0 })
  t.match(await complete(worker, id), { status: 'completed' }, 'the same call again')
  t.match(
    (await historyOf(id)).map(({ type, actor }) => [type, actor]),
    [
      ['created', null],
      ['started', member],
      ['completed', member],
    ],
  )

  const failing = await service.createJob({ cancellable: true })
  await update(worker, failing.id)
  await service.call('POST', `/jobs/${failing.id}/cancel`)
  t.match(await update(worker, failing.id), { cancelRequested: true })
  t.match(await error(worker, failing.id, 'disk full'), { status: 'failed' })
  t.match(await service.job(failing.id), { status: 'failed', failureReason: 'worker', errorMessage: 'disk full' })
})

t.test('stages follow the same rules as over HTTP', async t => {
  const { id } = await service.createJob({ stages: [{ name: 'a' }, { name: 'b', weight: 3 }] })
  await update(worker, id, 'a', 1, 2)
  t.match(await update(worker, id, 'b'), { progressPercent: 25 })
  t.match(await update(worker, id, 'a', 2), { progressPercent: 25 })
  t.match(await service.job(id), { stage: 'b', processedCount: 0, totalCount: null })
  await t.rejects(update(worker, id, 'c'), { code: 'HW001', message: /^unknown_stage: / })
})

t.test('stages in SQL have the same rules for names as over HTTP', async t => {
  const isShown = async (texts: string[]): Promise<boolean[]> => {
    const { rows } = await database.pool.query<{ shown: boolean[] }>(
      `SELECT array_agg(${FUNCTIONS}.is_shown_text(given) ORDER BY place) AS shown
       FROM unnest($1::text[]) WITH ORDINALITY AS t (given, place)`,
      [texts],
    )
    return rows[0]!.shown
  }
  t.same(
    await isShown(SHOWN_TEXTS),
    SHOWN_TEXTS.map(() => true),
  )
  t.same(
    await isShown(UNSHOWN_TEXTS),
    UNSHOWN_TEXTS.map(() => false),
  )

  // Of the planes of Unicode beyond the first: the planes with invisible characters, and the edges of the other planes.
  const planes: [first: number, last: number][] = [
    [1, 0xd7ff],
    [0xe000, 0xffff],
    [0x1bca0, 0x1bcaf],
    [0x1d170, 0x1d17f],
    [0x1f3f0, 0x1f3ff],
    [0xdfff0, 0xe1000],
    [0x10fff0, 0x10ffff],
  ]
  const characters = planes.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, index) => String.fromCodePoint(first + index)),
  )
  // Alone, between letters, before a joiner, and behind a flag.
  for (const around of [
    (c: string) => c,
    (c: string) => `a${c}b`,
    (c: string) => `${c}\u200d`,
    (c: string) => `🏴${c}`,
  ]) {
    const texts = characters.map(around)
    const shown = await isShown(texts)
    const different = texts.filter((text, place) => shown[place] !== (isVisible(text) && isInLine(text)))
    t.same(
      different.map(text => Array.from(text, c => c.codePointAt(0)?.toString(16))),
      [],
    )
  }
})

t.test('a call that HTTP would refuse is refused with HW001 and the same code', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  const finished = await service.createJob()
  await service.call('POST', `/jobs/${finished.id}/complete`)
  const batch = await service.createJob({ partitions: [{ name: 'one' }] })
  const long = (length: number) => 'x'.repeat(length)
  const refused: [code: string, call: () => Promise<Answer>][] = [
    ['job_not_found', () => update(worker, UNKNOWN_JOB)],
    ['job_not_found', () => update(worker, null)],
    ['job_not_found', () => complete(worker, UNKNOWN_JOB)],
    ['job_not_found', () => error(worker, UNKNOWN_JOB, 'no')],
    ['already_finished', () => update(worker, finished.id, null, 1)],
    ['already_finished', () => error(worker, finished.id, 'no')],
    ['is_batch', () => update(worker, batch.id, null, 1)],
    ['is_batch', () => complete(worker, batch.id)],
    ['is_batch', () => error(worker, batch.id, 'no')],
    ['validation_failed', () => update(worker, id, null, -1)],
    ['validation_failed', () => update(worker, id, null, null, -1)],
    ['validation_failed', () => update(worker, id, null, '9007199254740992')],
    ['validation_failed', () => update(worker, id, null, null, '9007199254740992')],
    ['validation_failed', () => update(worker, id, '')],
    ['validation_failed', () => update(worker, id, long(101))],
    ['validation_failed', () => update(worker, id, ' ')],
    ['validation_failed', () => update(worker, id, 'a\nb')],
    ['validation_failed', () => update(worker, id, null, null, null, long(501))],
    ['validation_failed', () => complete(worker, id, long(501))],
    ['validation_failed', () => error(worker, id, null)],
    ['validation_failed', () => error(worker, id, '')],
    ['validation_failed', () => error(worker, id, long(2001))],
  ]
  for (const [code, call] of refused) {
    await t.rejects(call(), { code: 'HW001', message: new RegExp(`^${code}: job `) }, call.toString())
  }
  t.match(await service.job(id), { status: 'pending', revision: 1, processedCount: 0 }, 'and nothing is written')
  t.match(await service.job(batch.id), { status: 'pending', revision: batch.revision })
})

t.test('a member may call the three functions, and nothing else', async t => {
  const { id } = await service.createJob()
  const report = JSON.stringify([
    { i: 0, job_id: id, worker_id: 'w', tenant_id: (await service.job(id)).tenantId, all_organizations: true },
  ])
  const denied = [
    'SELECT FROM progress_jobs',
    'SELECT FROM job_progress',
    'SELECT FROM job_events',
    "UPDATE progress_jobs SET name = 'mine'",
    'DELETE FROM progress_jobs',
    'INSERT INTO job_events DEFAULT VALUES',
    `SELECT ${FUNCTIONS}.flush(false, NULL, ARRAY['${id}']::uuid[], '${report}', ${Array(13).fill('NULL').join()})`,
    `SELECT ${FUNCTIONS}.flush_patiently('${id}', '${report}')`,
    `SELECT ${FUNCTIONS}.change_job('${id}', NULL, true, NULL, NULL, 'complete', NULL, '{}')`,
    `SELECT ${FUNCTIONS}.finish_job_progress('${id}', 'complete', '{}')`,
    `SELECT ${FUNCTIONS}.lock_jobs(ARRAY['${id}']::uuid[], false)`,
    `SELECT ${FUNCTIONS}.create_job(NULL, true, NULL, NULL, '{}')`,
    `SELECT ${FUNCTIONS}.erase_expired(0, 1000)`,
    'CREATE FUNCTION headway.mine() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$',
  ]
  for (const statement of denied) await t.rejects(worker.query(statement), { code: '42501' }, statement)

  const outsider = await connectAs(t, stranger)
  await t.rejects(update(outsider, id), { code: '42501' })
  await t.rejects(complete(outsider, id), { code: '42501' })
  await t.rejects(error(outsider, id, 'no'), { code: '42501' })
  t.match(await service.job(id), { status: 'pending', revision: 1 })
})

/** Gives the revisions that were notified of a job up to now, after that with which it was made. */
const listen = async (t: Test): Promise<(job: JobDocument) => Promise<number[]>> => {
  const changes: JobChange[] = []
  const listener = new pg.Client(database.url)
  listener.on('notification', ({ payload }) => changes.push(...(decodePayload(payload ?? '') ?? [])))
  listener.on('error', () => undefined)
  await listener.connect()
  t.teardown(() => listener.end())
  await listener.query('LISTEN headway')
  return async job => {
    await listener.query('SELECT 1')
    return changes.filter(({ jobId, revision }) => jobId === job.id && revision > job.revision).map(c => c.revision)
  }
}

t.test('no reader sees a report before its commit, nor after a rollback', async t => {
  const stream = openStream(t, () => service.url)
  const heard = await listen(t)
  const job = await service.createJob()
  const { id } = job
  await waitFor(() => stream.jobs.has(id))

  await worker.query('BEGIN')
  t.match(await update(worker, id, null, 1), { revision: 2 })
  await worker.query('ROLLBACK')
  await worker.query('BEGIN')
  await update(worker, id, null, 7)
  t.match(await service.job(id), { status: 'pending', revision: 1 })
  t.same(await heard(job), [])
  const committedAt = Date.now()
  await worker.query('COMMIT')
  await waitFor(() => stream.jobs.get(id)?.processedCount === 7)
  t.ok(Date.now() - committedAt < 2000, 'by the notification: who only reconciles comes up to 5 s later')
  t.same(await heard(job), [2])
  await complete(worker, id)
  await waitFor(() => stream.jobs.get(id)?.status === 'completed')
})

t.test('a partition is rolled up into its batch, on the stream as well', async t => {
  const stream = openStream(t, () => service.url)
  const batch = await service.createJob({
    partitions: [
      { name: 'one', totalCount: 4 },
      { name: 'two', totalCount: 4 },
    ],
  })
  const { body } = await service.call<{ items: ListedJob[] }>('GET', `/jobs?parentJobId=${batch.id}`)
  const [one = '', two = ''] = body.items.map(({ id }) => id)
  await waitFor(() => stream.jobs.has(batch.id))
  const heard = await listen(t)
  await update(worker, one, null, 2)
  t.same(await heard(batch), [batch.revision + 1], 'at once, and not when somebody reconciles')
  await waitFor(() => stream.jobs.get(batch.id)?.processedCount === 2)
  t.match(await service.job(batch.id), { status: 'running', progressPercent: 25 })
  await complete(worker, one)
  await error(worker, two, 'no')
  t.equal((await heard(batch)).length, 3)
  await waitFor(() => stream.jobs.get(batch.id)?.status === 'failed')
  t.match(await service.job(batch.id), { failureReason: 'partitions', errorMessage: '1 of 2 partitions failed' })
})

t.test('settings of the caller do not change what the functions do', async t => {
  const { id } = await service.createJob({ totalCount: 10 })
  const batch = await service.createJob({ partitions: [{ name: 'one', totalCount: 4 }] })
  const { body } = await service.call<{ items: ListedJob[] }>('GET', `/jobs?parentJobId=${batch.id}`)
  await database.pool.query(`CREATE SCHEMA evil AUTHORIZATION ${member}`)
  const client = await connectAs(t, member)
  await client.query(`
    CREATE TABLE evil.progress_jobs (id uuid, tenant_id uuid, status text);
    CREATE TABLE evil.job_progress (id uuid);
    CREATE TEMPORARY TABLE progress_jobs (id uuid, tenant_id uuid, status text);
    CREATE TEMPORARY TABLE job_progress (id uuid);
    CREATE TEMPORARY TABLE job_events (id uuid);
    CREATE FUNCTION evil.trap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
    CREATE FUNCTION evil.trap(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
    CREATE FUNCTION evil.trap(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT evil.trap()';
    CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT evil.trap()';
    CREATE FUNCTION evil.length(text) RETURNS integer LANGUAGE sql AS 'SELECT evil.trap()::integer';
    CREATE OPERATOR evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil.trap);
    CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.trap)`)
  await client.query('SET search_path = evil, pg_temp, public, pg_catalog')
  await client.query(`
    SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Pacific/Chatham';
    SET transform_null_equals = on; SET extra_float_digits = -15; SET standard_conforming_strings = off;
    SET lock_timeout = 0; SET enable_indexscan = off; SET row_security = off; SET check_function_bodies = off`)
  await t.rejects(client.query("SELECT length('x')"), /trapped/, 'the traps are set')
  t.match(await update(client, id, null, 5, null, "it's"), { progressPercent: 50, status: 'running' })
  t.match(await service.job(id), { processedCount: 5, message: "it's" })
  t.match(await complete(client, body.items[0]?.id), { status: 'completed' })
  t.match(await service.job(batch.id), { status: 'completed' })
  t.match(await error(client, id, 'no'), { status: 'failed' })
  for (const definer of WORKERS_SQL.match(/SECURITY DEFINER.*/g) ?? []) {
    t.match(definer, 'SET search_path = pg_catalog, pg_temp', 'temporary tables are the last to be found')
  }
})

/**
 * Makes, for each built-in function and operator that is called from the functions for workers on, others of the same name in
 * public, for one and two arguments of every type that these handle. Each raises an exception when it is run.
 */
const SET_TRAPS = `DO $$
DECLARE
  bodies text := (
    WITH RECURSIVE called AS (
      SELECT p.oid, p.prosrc FROM pg_proc p WHERE p.pronamespace = 'headway'::regnamespace
      UNION
      SELECT p.oid, p.prosrc FROM called c JOIN pg_proc p ON p.pronamespace = '${FUNCTIONS}'::regnamespace
        AND (c.prosrc ~ ('\\m' || p.proname || '\\(') OR p.prorettype = 'trigger'::regtype)
    ) SELECT string_agg(prosrc, ' ') FROM called);
  types text[] := ARRAY(
    SELECT DISTINCT format_type(t.oid, NULL) FROM pg_type t WHERE t.typtype = 'b' AND t.typcategory <> 'A' AND t.oid IN (
      SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE a.attnum > 0 AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
      UNION SELECT unnest(p.proargtypes) FROM pg_proc p WHERE p.pronamespace = '${FUNCTIONS}'::regnamespace
      UNION SELECT 'interval'::regtype));
  pairs text[] := ARRAY(SELECT a || ', ' || b FROM unnest(types) AS a, unnest(types) AS b);
  body text := 'LANGUAGE plpgsql AS $body$ BEGIN RAISE $text$trapped$text$; END $body$';
  name text;
  result text;
  arguments text;
BEGIN
  FOREACH arguments IN ARRAY pairs LOOP
    EXECUTE format('CREATE FUNCTION public.trap(%s) RETURNS boolean %s', arguments, body);
  END LOOP;
  FOR name IN SELECT DISTINCT oprname FROM pg_catalog.pg_operator WHERE position(oprname IN bodies) > 0 LOOP
    FOREACH arguments IN ARRAY pairs LOOP
      EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.trap)', name,
        split_part(arguments, ', ', 1), split_part(arguments, ', ', 2));
    END LOOP;
  END LOOP;
  FOR name, result IN
    SELECT p.proname, min(CASE t.typtype WHEN 'b' THEN format_type(t.oid, NULL) ELSE 'boolean' END)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.oid = p.prorettype
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND bodies ~ ('\\m' || p.proname || '\\(')
    GROUP BY p.proname
  LOOP
    FOREACH arguments IN ARRAY types || pairs LOOP
      EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s %s', name, arguments, result, body);
    END LOOP;
  END LOOP;
END $$`

t.test(
  'neither the service nor a function with the rights of the owner runs a function or operator that others made',
  async t => {
    const trapped = await createTestDatabase(t)
    await trapped.pool.query('GRANT CREATE ON SCHEMA public TO PUBLIC')
    const outsider = await connectAs(t, stranger, trapped)
    await outsider.query(SET_TRAPS)
    const guarded = await startService(t, { database: trapped })
    const batch = await guarded.createJob({ partitions: [{ name: 'one', totalCount: 4 }] })
    const ids = [(await guarded.createJob({ stages: [{ name: 'a' }] })).id, (await guarded.createJob()).id]
    const { body } = await guarded.call<{ items: ListedJob[] }>('GET', `/jobs?parentJobId=${batch.id}&search=one`)
    const [partition = ''] = body.items.map(({ id }) => id)
    const calls = (client: pg.Client): (() => Promise<Answer>)[] => [
      () => update(client, ids[0], 'a', 5, 10, 'five'),
      () => complete(client, partition, 'done'),
      () => error(client, ids[1]!, 'no'),
    ]

    const owner = new pg.Client(trapped.url)
    await owner.connect()
    owner.on('error', () => undefined)
    t.teardown(() => owner.end())
    for (const [n, name] of ['update', 'complete', 'error'].entries()) {
      await owner.query('BEGIN')
      await owner.query(`ALTER FUNCTION headway.${name}_job_progress SET search_path = public, pg_temp`)
      await t.rejects(calls(owner)[n]!(), /trapped/, `the traps are set for ${name}`)
      await owner.query('ROLLBACK')
    }

    const client = await connectAs(t, member, trapped)
    const statuses = []
    for (const call of calls(client)) statuses.push((await call()).status)
    t.same(statuses, ['running', 'completed', 'failed'])
    t.match(await guarded.job(batch.id), { status: 'completed' })
    t.match(await guarded.heartbeat(ids[0]!, { stage: 'a', processedCount: 6 }), { status: 200 })
    t.match(await guarded.call('GET', '/stats'), { status: 200 })
    const { rows } = await trapped.pool.query<{ name: string; config: string[] }>(
      `SELECT p.oid::regproc::text AS name, p.proconfig AS config FROM pg_proc p
     WHERE p.pronamespace IN ('headway'::regnamespace, $1::regnamespace)
       AND (p.prosecdef OR p.proconfig::text LIKE '%search_path%')`,
      [FUNCTIONS],
    )
    t.equal(rows.length, 6, 'who calls decides where the others search')
    for (const { name, config } of rows) t.ok(config.includes('search_path=pg_catalog, pg_temp'), name)
  },
)

t.test('no right is granted while other roles may create functions beside those for workers', async t => {
  const open = await createTestDatabase(t)
  const { pool } = open
  const { id } = await (await startService(t, { database: open })).createJob()
  const client = await connectAs(t, member, open)
  t.same(await migrate(open.url), [])
  await update(client, id)
  for (const [schema, role] of [
    ['headway', 'PUBLIC'],
    [FUNCTIONS, 'PUBLIC'],
    [FUNCTIONS, stranger],
  ] as const) {
    await pool.query(`GRANT CREATE ON SCHEMA ${schema} TO ${role}`)
    t.match((await migrate(open.url)).join(), `${role} in ${schema}`)
    await t.rejects(update(client, id), { code: '42501' })
    await pool.query(`REVOKE CREATE ON SCHEMA ${schema} FROM ${role}`)
    t.same(await migrate(open.url), [])
    await update(client, id)
  }
  const outsider = await connectAs(t, stranger, open)
  for (const name of ['update', 'complete', 'error'])
    await pool.query(`GRANT EXECUTE ON FUNCTION headway.${name}_job_progress TO PUBLIC`)
  await update(outsider, id)
  await pool.query(`REVOKE ALL ON FUNCTION headway.update_job_progress FROM headway_worker`)
  await migrate(open.url)
  await t.rejects(update(outsider, id), { code: '42501' }, 'as after a restore without grants')
  await pool.query(`REVOKE ALL ON SCHEMA headway, ${FUNCTIONS} FROM PUBLIC`)
  await migrate(open.url)
  await update(client, id)
  await t.rejects(complete(outsider, id), { code: '42501' })
  await t.rejects(error(outsider, id, 'no'), { code: '42501' })
})

t.test('a transaction with a snapshot from before another report does not undo it', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  await service.heartbeat(id, { workerId: 'other', processedCount: 1 })
  await worker.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
  await worker.query('SELECT count(*) FROM pg_class')
  await service.heartbeat(id, { workerId: 'other', processedCount: 40 })
  await t.rejects(update(worker, id, null, 5), { code: '40001' })
  await worker.query('ROLLBACK')
  await update(worker, id, null, 5)
  t.equal((await service.job(id)).processedCount, 45)
})

t.test('a report waits up to five seconds for a job that another session has locked', async t => {
  // Not on the server of the other tests: an open transaction would keep its outdated rows from being cleaned up.
  const clients = await Promise.all([1, 2, 3].map(() => server.connect()))
  const holder = await server.connect()
  const { rows } = await holder.query<{ id: string }>(
    `INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds)
     SELECT gen_random_uuid(), 'test', 'a job', 0 FROM generate_series(1, 3) RETURNING id`,
  )
  const calls = [update, complete, error].map((call, n) => ({ call, client: clients[n]!, id: rows[n]!.id }))
  await holder.query('BEGIN')
  await holder.query('SELECT FROM progress_jobs FOR UPDATE')
  const began = performance.now()
  const failures = await Promise.all(
    calls.map(({ call, client, id }) =>
      call(client, id, call === error ? 'no' : null).catch((cause: unknown) => cause),
    ),
  )
  const seconds = (performance.now() - began) / 1000
  for (const failure of failures) t.match(failure, { code: '55P03' })
  t.ok(seconds > 4.5 && seconds < 8, `${seconds} s`)

  const waiting = Promise.all(calls.map(({ call, client, id }) => call(client, id, call === error ? 'no' : null)))
  // Longer than one attempt of the flush takes.
  await holder.query('SELECT pg_sleep(0.4)')
  await holder.query('COMMIT')
  t.match(await waiting, [{ status: 'running' }, { status: 'completed' }, { status: 'failed' }])
})

t.test(
  'where the service cannot make the role, its next start after somebody else made it grants the rights',
  async t => {
    // On the server of the other tests the role is there, and theirs.
    const admin = await server.connect()
    await admin.query('DROP OWNED BY headway_worker; DROP ROLE headway_worker')
    await admin.query(`CREATE ROLE owner LOGIN PASSWORD '${PASSWORD}' NOCREATEROLE`)
    await admin.query('CREATE DATABASE jobs OWNER owner')
    const url = new URL(withDatabase(server.url, 'jobs'))
    const inJobs = await server.connect(url.href)
    url.username = 'owner'
    url.password = encodeURIComponent(PASSWORD)
    const mayCall = async () => {
      const { rows } = await inJobs.query<{ name: string }>(
        `SELECT p.proname AS name FROM pg_proc p JOIN pg_roles r ON has_function_privilege(r.oid, p.oid, 'EXECUTE')
       WHERE p.pronamespace = 'headway'::regnamespace AND r.rolname = 'headway_worker' AND p.proname LIKE '%_job_progress'
         AND p.prosecdef ORDER BY 1`,
      )
      return rows.map(({ name }) => name)
    }

    await migrate(url.href)
    t.equal((await admin.query("SELECT FROM pg_roles WHERE rolname = 'headway_worker'")).rowCount, 0)
    await admin.query('CREATE ROLE headway_worker')
    t.same(await mayCall(), [], 'not to everybody')
    await migrate(url.href)
    t.same(await mayCall(), ['complete_job_progress', 'error_job_progress', 'update_job_progress'])
    await inJobs.query(`COMMENT ON SCHEMA ${FUNCTIONS} IS 'Functions of Headway, older'`)
    await migrate(url.href)
    t.equal((await mayCall()).length, 3, 'and again after the functions were made anew')
  },
)
