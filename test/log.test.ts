import { stripVTControlCharacters } from 'node:util'
import t, { type Test } from 'tap'
import { createLog, terminalOutput } from '../src/log.ts'
import { raw } from './http/in-memory.ts'
import { spawnService } from './helpers/process.ts'
import { startService } from './helpers/service.ts'
import { bearer, mint, SECRET } from './helpers/tokens.ts'
import { waitFor } from './helpers/wait.ts'

const PASSWORD = 'ThePasswordOfTheDatabase'

/** A line that somebody would like to have written. */
const FORGED = '{"level":60,"msg":"the sky is falling"}'
const BREAKS = ['\n', '\r\n', '\u2028', '\u2029', '\u0085', '\\n', '"}\n', '\x1b[2K\r', '\u009b2K', '\x7f', '\u202e']

/** Characters on which a terminal or a viewer acts instead of showing them. */
const MISLEADING = /[^\P{C}\n]|[\u2028\u2029]/u

t.test('no line of the log can be forged by what a caller sends, at any level', async t => {
  const chunks: string[] = []
  const log = createLog('trace', { write: chunk => void chunks.push(chunk) })
  const service = await startService(t, { log, AUTH_JWT_SECRET: SECRET })
  const port = Number(new URL(service.url).port)
  for (const mark of BREAKS.map(text => `x${text}${FORGED}${text}`)) {
    const caller = service.as(await mint({ sub: mark }))
    await caller.call('POST', '/jobs', { jobType: mark.slice(0, 100), name: mark })
    const { id } = await caller.createJob({ description: mark, meta: { [mark]: mark } })
    // As in a job of an earlier version.
    await service.database.pool.query('UPDATE public.progress_jobs SET name = $2, job_type = $3 WHERE id = $1', [
      id,
      mark,
      mark.slice(0, 100),
    ])
    await caller.call('POST', `/jobs/${id}/heartbeat`, {
      workerId: mark,
      message: mark,
      stage: mark.slice(0, 100),
      payload: { mark },
    })
    await caller.call('POST', `/jobs/${id}/fail`, { errorMessage: mark, errorStack: mark })
    await caller.call('POST', `/jobs/${id}/start`, { [mark]: 1 })
    const encoded = encodeURIComponent(mark)
    for (const path of [
      `/jobs/${encoded}`,
      `/jobs?search=${encoded}`,
      `/${encoded}`,
      `/jobs/${id}/stream?lastEventId=${encoded}`,
    ]) {
      const client = new AbortController()
      await fetch(`${service.url}/api/progress${path}`, {
        headers: bearer(await mint({ sub: mark })),
        signal: client.signal,
      })
      client.abort()
    }
    log.info({ [mark]: mark }, mark)
    const token = await mint({ sub: mark, tenant_id: mark })
    await service.as(token).call('GET', '/jobs')
    await service.as(await mint({}, { alg: 'HS256', key: Buffer.from(SECRET), kid: mark })).call('GET', '/jobs')
  }
  for (const header of ['x-request-id', 'user-agent', 'x-forwarded-for', 'authorization', 'prefer', 'if-none-match']) {
    const value = `"}\\n${FORGED}\t`
    await raw(
      port,
      `GET /api/progress/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${header}: ${value}\r\n\r\n`,
    )
    await raw(port, `GET /api/progress/jobs HTTP/1.1\r\nhost: localhost\r\n${header}: a\n${FORGED}\r\n\r\n`)
  }
  await service.close()
  for (const chunk of chunks) {
    t.ok(chunk.endsWith('\n') && chunk.indexOf('\n') === chunk.length - 1, 'one line each')
    t.not((JSON.parse(chunk) as { level: number }).level, 60, chunk)
    t.notMatch(chunk, MISLEADING, 'with nothing that a terminal acts upon')
  }
  t.match(
    // Entries about ends of jobs have their types.
    chunks
      .map(chunk => JSON.parse(chunk) as { msg: string; jobId?: string })
      .flatMap(line => (line.jobId === undefined ? line.msg : [])),
    BREAKS.map(text => `x${text}${FORGED}${text}`),
  )
})

t.test('a failure is logged with its statement and its causes, and without any value of the caller', async t => {
  const word = 'ThisWordIsSecret'
  const chunks: string[] = []
  const log = createLog('trace', { write: chunk => void chunks.push(chunk) })
  const service = await startService(t, { log })
  const { id } = await service.createJob({ name: word })
  // After this every statement fails, as during an upgrade; and before it, one that the row itself would be told of.
  await service.database.pool.query("ALTER TABLE progress_jobs ADD CHECK (description <> 'no')")
  await service.call('POST', '/jobs', { jobType: word, name: word, description: 'no' })
  await service.database.pool.query('ALTER TABLE progress_jobs RENAME TO gone')
  const statuses = await Promise.all([
    service.call('GET', `/jobs?search=${word}&jobType=${word}`),
    service.call('GET', `/stats?jobType=${word}`),
    service.call('GET', `/stream?jobType=${word}&lastEventId=1.${word}`),
    service.call('GET', `/jobs/${id}`),
    service.call('POST', '/jobs', { jobType: word, name: word, meta: { word } }),
    service.call('POST', `/jobs/${id}/fail`, { errorMessage: word }),
    service.call('POST', `/jobs/${id}/heartbeat`, { message: word, workerId: word }),
  ])
  t.ok(statuses.every(({ status }) => status >= 202))
  await service.close()
  const written = chunks.join('')
  t.notOk(written.includes(word), written.slice(Math.max(0, written.indexOf(word) - 1_000)).slice(0, 2_000))
  const failed = chunks.map(chunk => JSON.parse(chunk) as { msg: string; err?: Record<string, string> })
  const search = failed.find(({ err }) => err?.['message']?.includes('ILIKE'))
  t.match(search?.err, {
    sqlState: '42P01',
    message: /Failed query: .*ILIKE.*: relation "public\.progress_jobs" does not exist/s,
  })
  t.match(search?.err?.['stack'], /\n {4}at .*\ncaused by: .*\n {4}at /s)
  for (const { err } of failed)
    if (err)
      t.strictSame(
        Object.keys(err).filter(key => !['type', 'code', 'sqlState', 'message', 'stack'].includes(key)),
        [],
      )
})

t.test('the service writes no secret or password while it starts, runs and fails', async t => {
  const admin = new URL(process.env['TEST_DATABASE_URL']!)
  const wrong = new URL(admin)
  wrong.username = 'nobody_of_this_name'
  wrong.password = PASSWORD
  const settings = { LOG_LEVEL: 'trace', AUTH_JWT_SECRET: SECRET }
  const cases: [name: string, databaseUrl: string, until: RegExp][] = [
    ['the wrong password', wrong.href, /Cannot use the database|listens/],
    ['nobody there', `postgres://headway:${PASSWORD}@127.0.0.1:1/headway`, /cannot be reached yet/],
    [
      'a host that does not exist',
      `postgres://headway:${PASSWORD}@nowhere.invalid/headway`,
      /Cannot use|cannot be reached/,
    ],
    ['a password that is not well encoded', `postgres://headway:${PASSWORD}%zz@127.0.0.1:1/headway`, /./],
    ['a URL that is none', `postgres:/${PASSWORD}`, /DATABASE_URL must be/],
  ]
  const services = cases.map(([name, url, until]) => ({
    name,
    until,
    service: spawnService(t, { ...settings, DATABASE_URL: url, DATABASE_LISTEN_URL: url }),
  }))
  for (const { name, until, service } of services) {
    await waitFor(() => until.test(service.stdout + service.stderr), { timeoutMs: 20_000 })
    const written = service.stdout + service.stderr
    t.match(written, until, name)
    t.notOk(written.includes(PASSWORD), `${name}: no password in ${written.slice(0, 500)}`)
    t.notOk(written.includes(SECRET), `${name}: no secret`)
    await service.kill('SIGKILL')
  }
  const running = await spawnService(t, { ...settings, DATABASE_URL: admin.href }).ready()
  const token = await mint()
  await fetch(`${running.url}/api/progress/jobs`, { headers: bearer(token) })
  await fetch(`${running.url}/api/progress/stream?access_token=bad${token}`)
  await running.kill('SIGTERM')
  const written = running.stdout + running.stderr
  const secrets = [SECRET, token, token.split('.')[1]!, decodeURIComponent(admin.password)].filter(
    secret => secret !== '',
  )
  for (const secret of secrets) t.notOk(written.includes(secret), 'nor of one that runs')
})

t.test('any value that was thrown can be logged', t => {
  const lines: string[] = []
  const log = createLog('info', { write: line => lines.push(line) })
  const circle = new Error('first', { cause: new Error('second') })
  ;(circle.cause as Error).cause = circle
  log.error({ err: circle })
  for (const stack of [null, 5]) log.error({ err: Object.assign(new Error('no stack'), { stack }) })
  t.match(
    lines.map(line => (JSON.parse(line) as { err: { message: string } }).err.message),
    ['first: second', 'no stack', 'no stack'],
  )
  t.end()
})

/** A service with a log at this level, and the lines of it that are about a job. */
const logged = async (t: Test, level: string, settings: Record<string, string> = {}) => {
  const chunks: string[] = []
  const service = await startService(t, {
    ...settings,
    log: createLog(level, { write: chunk => void chunks.push(chunk) }),
  })
  type Line = { level: number; msg: string } & Record<string, unknown>
  const linesOf = (jobId: string) =>
    chunks.map(chunk => JSON.parse(chunk) as Line).filter(line => line['jobId'] === jobId)
  return { service, linesOf, database: service.database.pool }
}

t.test(
  'the log says at info which job failed, and which the sweeper stalled or ended, with its type and tenant',
  async t => {
    const { service, linesOf, database } = await logged(t, 'info', { SWEEP_SCHEDULE: '* * * * * *' })
    const about = { level: 30, jobType: 'import', tenantId: '00000000-0000-0000-0000-000000000000' }
    const create = (fields: object = {}) => service.createJob({ jobType: 'import', name: 'a secret name', ...fields })
    const failing = await create()
    await service.call('POST', `/jobs/${failing.id}/fail`, { errorMessage: 'a secret' })
    t.match(linesOf(failing.id), [{ ...about, msg: 'job failed', event: 'failed' }])

    const batch = await create({ partitions: [{ name: 'a' }] })
    const { rows } = await database.query<{ id: string }>('SELECT id FROM progress_jobs WHERE parent_job_id = $1', [
      batch.id,
    ])
    await service.call('POST', `/jobs/${rows[0]!.id}/fail`, { errorMessage: 'no' })
    t.match(linesOf(batch.id), [{ ...about, msg: 'job failed' }], 'a batch that fails by its partitions')

    const [stalling, stale, asked, fine] = [
      await create({ heartbeatTimeoutSeconds: 0 }),
      await create({ heartbeatTimeoutSeconds: 60 }),
      await create({ heartbeatTimeoutSeconds: 60, cancellable: true }),
      await create(),
    ]
    for (const { id } of [stalling, stale, asked, fine]) await service.heartbeat(id)
    await service.call('POST', `/jobs/${asked.id}/cancel`)
    const beHealthy = () => database.query("UPDATE service_processes SET healthy_since = now() - interval '1 day'")
    // First, because a process that has been well for less than a minute stalls the jobs that it would end.
    await beHealthy()
    for (const { id } of [stalling, stale, asked]) await service.age(id, 100)
    await waitFor(async () => {
      // A busy machine that misses its sweeps begins its window anew.
      await beHealthy()
      return [stalling, stale, asked].every(({ id }) => linesOf(id).length > 0)
    })
    t.match(linesOf(stalling.id), [{ ...about, msg: 'job stalled', by: 'sweeper' }])
    t.match(linesOf(stale.id), [{ ...about, msg: 'job failed', by: 'sweeper' }])
    t.match(linesOf(asked.id), [{ ...about, msg: 'job cancelled', by: 'sweeper' }])
    await service.call('POST', `/jobs/${fine.id}/complete`)
    t.same(linesOf(fine.id), [])
    for (const { id } of [failing, batch, stalling, stale, asked]) t.notMatch(JSON.stringify(linesOf(id)), /secret/)
  },
)

t.test('at debug the log has each lifecycle change, and each announcement of progress', async t => {
  const { service, linesOf } = await logged(t, 'debug')
  const { id } = await service.createJob({ jobType: 'import', cancellable: true })
  await service.heartbeat(id, { processedCount: 1 })
  await waitFor(async () => {
    await service.heartbeat(id, { increment: 1 })
    return linesOf(id).some(({ msg }) => msg === 'progress announced')
  })
  for (const [path, body] of [
    ['cancel', {}],
    ['fail', { errorMessage: 'no' }],
    ['retry', {}],
    ['start', {}],
    ['complete', {}],
    ['complete', {}],
  ] as const) {
    await service.call('POST', `/jobs/${id}/${path}`, body)
  }
  const lines = linesOf(id)
  t.same(
    lines
      .filter(({ event, msg }) => event !== undefined || msg.startsWith('job '))
      .map(({ msg, level }) => [msg, level]),
    [
      ['job created', 20],
      ['job started or recovered', 20],
      ['job cancel requested', 20],
      ['job failed', 30],
      ['job retried', 20],
      ['job started', 20],
      ['job completed', 20],
    ],
  )
  t.match(
    lines.find(({ msg }) => msg === 'progress announced'),
    { level: 20, tenantId: String, revision: Number },
  )
})

t.test('in a terminal each entry of the log is one readable line, and no text of a caller makes a line', async t => {
  const written: string[] = []
  const stream = { isTTY: true, write: (text: string) => written.push(text) } as unknown as NodeJS.WriteStream
  const log = createLog('debug', terminalOutput(stream))
  log.info('Headway listens on http://127.0.0.1:3000')
  log.warn({ jobId: 'a', reason: 'it said "no"' }, 'a job failed')
  log.error({ err: new TypeError('wrong') }, 'sweep failed')
  const plain = written.map(text => stripVTControlCharacters(text))
  t.match(plain[0], /^\d\d:\d\d:\d\d info {2}Headway listens on http:\/\/127\.0\.0\.1:3000\n$/)
  t.match(plain[1], /^\S+ warn {2}a job failed jobId="a" reason="it said \\"no\\""\n$/)
  t.match(plain[2], /^\S+ error sweep failed\n {4}TypeError: wrong\n {4}at /)
  written.length = 0
  for (const mark of BREAKS.map(text => `x${text}${FORGED}${text}`)) {
    log.info({ [mark]: mark }, mark)
    log.error({ err: new Error(mark) }, mark)
  }
  t.equal(written.length, 2 * BREAKS.length)
  for (const text of written) {
    const lines = stripVTControlCharacters(text).trimEnd().split('\n')
    for (const line of lines.slice(1)) t.match(line, /^ {4}/)
    for (const line of lines) t.notMatch(line, MISLEADING)
  }
  t.equal(terminalOutput({ isTTY: false } as unknown as NodeJS.WriteStream), undefined, 'elsewhere the lines are JSON')
})
