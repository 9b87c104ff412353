import { randomInt } from 'node:crypto'
import t from 'tap'
import { FUNCTIONS } from '../src/database/functions.ts'
import type { CreatedJob, JobDocument } from '../src/contract/job.ts'
import { createTestDatabase } from './helpers/database.ts'
import { spawnService } from './helpers/process.ts'
import { waitFor } from './helpers/wait.ts'

const PARTITIONS = 64
const WORKERS = 16
const LOAD_MS = 7_000

type Job = JobDocument & { code?: string; cancelRequested?: boolean }

interface Reply<Body> {
  status: number
  body: Body
}

/** One call under /api/progress. */
const call = async <Body = Job>(url: string, method: string, path: string, body?: object): Promise<Reply<Body>> => {
  const response = await fetch(`${url}/api/progress${path}`, {
    method,
    ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Body }
}

const FINAL = ['completed', 'failed', 'cancelled']

t.test('two replicas that change one batch at once cause no deadlock, and the batch ends once', async t => {
  const database = await createTestDatabase(t)
  const services = await Promise.all(
    [1, 2].map(() =>
      spawnService(t, {
        DATABASE_URL: database.url,
        SWEEP_SCHEDULE: '* * * * * *',
        STALLED_AFTER_SECONDS: '1',
        LOG_LEVEL: 'info',
      }).ready(),
    ),
  )
  const [first, second] = services.map(({ url }) => url) as [string, string]
  const url = () => (randomInt(2) === 0 ? first : second)
  const batch = (
    await call<CreatedJob>(first, 'POST', '/jobs', {
      jobType: 'test',
      name: 'a batch',
      cancellable: true,
      heartbeatTimeoutSeconds: 2,
      partitions: Array.from({ length: PARTITIONS }, (_, index) => ({ name: `p${index}`, totalCount: 1_000 })),
    })
  ).body
  const ids = (batch.partitions ?? []).map(({ id }) => id)
  const anyOf = () => ids[randomInt(PARTITIONS)] ?? ''

  const answers = new Map<string, number>()
  const note = (what: string, { status, body }: Reply<{ code?: string }>) => {
    const answer = `${what} ${status} ${body.code ?? ''}`.trim()
    answers.set(answer, (answers.get(answer) ?? 0) + 1)
  }
  const send = async (what: string, jobId: string, body: object = {}) => {
    const reply = await call(url(), 'POST', `/jobs/${jobId}/${what}`, body)
    note(what, reply)
    return reply.body
  }
  /** A worker that stops when it is told to. */
  const report = async (): Promise<void> => {
    const jobId = anyOf()
    const { cancelRequested } = await send('heartbeat', jobId, {
      workerId: `w${randomInt(4)}`,
      processedCount: randomInt(500),
    })
    if (cancelRequested === true) await send('cancelled', jobId)
  }
  const bulk = async (): Promise<void> => {
    const heartbeats = Array.from({ length: 20 }, () => ({ jobId: anyOf(), workerId: 'bulk', increment: 1 }))
    // The batch itself among them: it is refused, and must not be locked out of turn.
    note('heartbeats', await call(url(), 'POST', '/heartbeats', { heartbeats: [...heartbeats, { jobId: batch.id }] }))
  }
  const actions: [weight: number, act: () => Promise<unknown>][] = [
    [20, report],
    [10, () => send('increment', anyOf(), { increment: 1 })],
    [5, bulk],
    [2, () => send('complete', anyOf())],
    [6, () => send('fail', anyOf(), { errorMessage: 'no more ink' })],
    [15, () => send('retry', anyOf())],
    [2, () => send('cancel', anyOf())],
    // Seldom: until it has ended, its partitions cannot be retried.
    [1, async () => randomInt(6) === 0 && send('cancel', batch.id)],
    [4, () => send('retry', batch.id)],
  ]
  const draw = actions.flatMap(([weight, act]) => Array.from({ length: weight }, () => act))
  const until = performance.now() + LOAD_MS
  await Promise.all(
    Array.from({ length: WORKERS }, async () => {
      while (performance.now() < until) await draw[randomInt(draw.length)]?.()
    }),
  )

  // The workers of the last attempts end their partitions, or the sweeper does.
  const partitionsOf = async (): Promise<JobDocument[]> => {
    const { rows } = await database.pool.query<{ job: JobDocument }>(
      `SELECT ${FUNCTIONS}.job_document(p) AS job FROM progress_jobs p WHERE p.parent_job_id = $1`,
      [batch.id],
    )
    return rows.map(({ job }) => job)
  }
  const left = (await partitionsOf()).filter(({ finishedAt }) => finishedAt === null)
  await Promise.all(
    left.map(({ id }, index) =>
      index % 3 === 0
        ? send('fail', id, { errorMessage: 'at last' })
        : index % 3 === 1
          ? send('complete', id)
          : send('start', id),
    ),
  )
  await waitFor(async () => (await partitionsOf()).every(({ finishedAt }) => finishedAt !== null), {
    timeoutMs: 15_000,
  })

  t.same(
    [...answers.keys()].filter(answer => / 5\d\d/.test(answer)),
    [],
    'nobody was turned away: a busy machine may keep a heartbeat for later',
  )
  const partitions = await partitionsOf()
  const job = (await call(second, 'GET', `/jobs/${batch.id}`)).body
  const count = (status: string) => partitions.filter(partition => partition.status === status).length
  t.match(job, {
    status: count('completed') === PARTITIONS ? 'completed' : count('failed') > 0 ? 'failed' : 'cancelled',
    processedCount: partitions.reduce((sum, { processedCount }) => sum + processedCount, 0),
    children: {
      completed: count('completed'),
      failed: count('failed'),
      cancelled: count('cancelled'),
      pending: 0,
      running: 0,
    },
    finishedAt: String,
  })
  const { rows: sums } = await database.pool.query(
    `SELECT p.id FROM progress_jobs p
     WHERE p.parent_job_id = $1 AND p.processed_count <> (
       SELECT coalesce(sum(w.processed_count), 0) FROM job_progress w WHERE w.job_id = p.id AND w.attempt = p.attempt)`,
    [batch.id],
  )
  t.same(sums, [], 'each partition is the sum of its workers')

  const { rows: events } = await database.pool.query<{ type: string }>(
    "SELECT type FROM job_events WHERE job_id = $1 AND type <> 'progress' ORDER BY id",
    [batch.id],
  )
  const ends = events
    .map(({ type }, index) => ({ type, next: events[index + 1]?.type }))
    .filter(({ type }) => FINAL.includes(type))
  // A late end of a stale partition may make another end of one.
  const followers = new Set(
    ends.slice(0, -1).map(({ type, next }) => (FINAL.includes(next ?? '') && next !== type ? 'another end' : next)),
  )
  t.ok(
    [...followers].every(next => ['recovered', 'retried', 'another end'].includes(next ?? '')),
    [...followers].join(),
  )
  t.equal(events.at(-1)?.type, job.status, 'the last thing to be said of the batch is its end')
  t.comment(JSON.stringify({ ...Object.fromEntries(answers), ends: ends.length }))

  await Promise.all(services.map(service => service.kill('SIGTERM')))
  const { rows } = await database.pool.query<{ deadlocks: string }>(
    'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
  )
  t.same(rows, [{ deadlocks: '0' }])
  for (const { log } of services)
    t.same(
      log.filter(({ level }) => level >= 40),
      [],
      'nothing to complain of',
    )
})
