import t from 'tap'
import type pg from 'pg'
import { FUNCTIONS } from '../../src/database/functions.ts'
import type { Heartbeat } from '../../src/contract/heartbeat.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startTimeline, type Seen, type Timeline } from '../helpers/timeline.ts'

const { tenantId } = OPEN_IDENTITY
const STRANGER = '11111111-1111-4111-8111-111111111111'

const timeline = await startTimeline(t)

let types = 0
/** A type of jobs that no other test knows. */
const newType = (): string => `type ${(types += 1)}`

/** Jobs of a type that took so many seconds, the last one finished at last; partitions where there is a batch. */
const finish = async (
  pool: pg.Pool,
  jobType: string,
  durations: number[],
  { status = 'completed', tenant = tenantId, batchId = null as string | null } = {},
): Promise<void> => {
  await pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, failure_reason, started_at,
       finished_at, parent_job_id, partition_index, partition_count)
     SELECT $1, $2, 'before', 60, $3::text, CASE $3::text WHEN 'failed' THEN 'worker' END, f.at - make_interval(secs => d.seconds), f.at,
       $4::uuid, CASE WHEN $4::uuid IS NOT NULL THEN d.n - 1 END, CASE WHEN $4::uuid IS NOT NULL THEN 1000 END
     FROM unnest($5::float8[]) WITH ORDINALITY AS d (seconds, n)
     CROSS JOIN LATERAL (SELECT timestamptz '2029-12-31Z' + make_interval(secs => d.n) AS at) f`,
    [tenant, jobType, status, batchId, durations],
  )
}

const newBatch = (jobType: string) =>
  timeline.create({
    job_type: jobType,
    children: {},
    partition_count: 1000,
    partitions: [{ name: 'a' }, { name: 'b' }],
  })

const partitionsOf = async (batchId: string): Promise<string[]> => {
  const { rows } = await timeline.pool.query<{ id: string }>(
    'SELECT id FROM public.progress_jobs WHERE parent_job_id = $1 ORDER BY partition_index',
    [batchId],
  )
  return rows.map(({ id }) => id)
}

/** The estimate of a job of the type at its start. */
const atStart = async (jobType: string, fields: Record<string, unknown> = {}): Promise<Seen> => {
  await timeline.at(0)
  const id = await timeline.create({ job_type: jobType, ...fields })
  await timeline.command(id, 'start')
  return timeline.see(id)
}

t.test('a job is expected to take as long as the median of earlier ones', async t => {
  const jobType = newType()
  t.match(await atStart(jobType), { eta: null, source: null }, 'none before it')
  await finish(timeline.pool, jobType, [100])
  t.match(await atStart(jobType), { eta: 100, source: 'history' })
  await finish(timeline.pool, jobType, [301])
  t.match(await atStart(jobType), { eta: 201 }, 'interpolated, and rounded up')
  await finish(timeline.pool, jobType, [10_000])
  t.match(await atStart(jobType), { eta: 301 })
})

t.test('only the last 20 completed jobs of the same tenant and type count', async t => {
  const jobType = newType()
  await finish(timeline.pool, jobType, [...Array<number>(200).fill(5000), ...Array<number>(20).fill(60)])
  for (const status of ['failed', 'cancelled']) {
    await finish(timeline.pool, jobType, Array<number>(60).fill(9), { status })
  }
  await finish(timeline.pool, `${jobType}x`, Array<number>(60).fill(9))
  await finish(timeline.pool, jobType, Array<number>(60).fill(9), { tenant: STRANGER })
  t.match(await atStart(jobType), { eta: 60, source: 'history' })
  t.match(await atStart(jobType, { tenant_id: STRANGER }), { eta: 9 })
})

t.test('partitions are compared with partitions, batches and other jobs with whole jobs', async t => {
  const jobType = newType()
  await finish(timeline.pool, jobType, [1000, 1000])
  const batchBefore = await timeline.create({ job_type: jobType, children: {}, partition_count: 1000 })
  await finish(timeline.pool, jobType, [40, 42], { batchId: batchBefore })
  t.match(await atStart(jobType), { eta: 1000 })
  await timeline.at(0)
  const batchId = await newBatch(jobType)
  const [first = '', second = ''] = await partitionsOf(batchId)
  await timeline.report({ jobId: first })
  t.match(await timeline.see(first), { eta: 41, source: 'history' })
  t.match(await timeline.see(batchId), { eta: 1000, source: 'history' }, 'the batch starts with its first partition')
  await timeline.command(second, 'start')
  t.match(await timeline.see(second), { eta: 41, source: 'history' })
})

t.test('the history is looked up at the start, and not again before a retry', async t => {
  const jobType = newType()
  await finish(timeline.pool, jobType, [1000])
  await timeline.at(0)
  const [started, reported, batchId] = [
    await timeline.create({ job_type: jobType }),
    await timeline.create({ job_type: jobType }),
    await newBatch(jobType),
  ]
  const [partition = ''] = await partitionsOf(batchId)
  await timeline.command(started, 'start')
  await timeline.report({ jobId: reported }, { jobId: partition })
  await finish(timeline.pool, jobType, Array<number>(60).fill(50))
  await timeline.at(100)
  await timeline.report({ jobId: started }, { jobId: reported }, { jobId: partition })
  for (const id of [started, reported, batchId]) t.match(await timeline.see(id), { eta: 900, source: 'history' })
  await timeline.command(reported, 'fail', { errorMessage: 'no' })
  await timeline.command(reported, 'retry')
  t.match(await timeline.see(reported), { eta: null, source: null })
  await timeline.report({ jobId: reported })
  t.match(await timeline.see(reported), { eta: 50, source: 'history' })
})

t.test(
  'before the third advance the estimate is from history, and afterwards the source with the larger weight is named',
  async t => {
    const jobType = newType()
    await finish(timeline.pool, jobType, [1000])
    await timeline.at(0)
    const jobId = await timeline.create({ job_type: jobType, total_count: 100 })
    await timeline.command(jobId, 'start')
    const etas: (number | null)[] = []
    const sources: (string | null)[] = []
    for (let n = 1; n <= 60; n += 1) {
      await timeline.at(20 * n)
      await timeline.report({ jobId, processedCount: n })
      const { eta, source } = await timeline.see(jobId)
      etas.push(eta)
      sources.push(source)
    }
    // One share of 1 % after 2 % of the usual time: slower than usual, dampened by a tenth of that time.
    const alone = [0.99 * 1000 * (0.12 / 0.11), 0.98 * 1000 * (0.14 / 0.12)].map(Math.ceil)
    t.same(etas.slice(0, 2), alone, 'alone')
    t.same(sources.slice(0, 3), ['history', 'history', 'history'])
    t.ok((etas[2] ?? 0) > 0.97 * 1000 * (0.16 / 0.13) && (etas[2] ?? 0) < 1940, `between the two: ${etas[2]}`)
    // One earlier run counts as much as the rate, and this run goes as evenly as that one.
    t.ok(sources.indexOf('rate') >= 3, `the rate is heavier from the ${sources.indexOf('rate') + 1}th`)
    for (const n of [29, 49, 59]) {
      const left = 2000 - 20 * (n + 1)
      t.ok(Math.abs((etas[n] ?? 0) - left) < 0.15 * left, `${etas[n]} is about ${left}`)
    }
  },
)

t.test("a worker's own estimate is used instead of the history", async t => {
  const jobType = newType()
  await finish(timeline.pool, jobType, [1000])
  await timeline.at(0)
  const jobId = await timeline.create({ job_type: jobType })
  await timeline.report({ jobId, etaSeconds: 77 })
  t.match(await timeline.see(jobId), { eta: 77, source: 'worker' })
  await timeline.at(10)
  await timeline.report({ jobId, etaSeconds: null })
  t.match(await timeline.see(jobId), { eta: 990, source: 'history' })
})

t.test('a job without a total is estimated from history, and has no estimate once it takes longer', async t => {
  const jobType = newType()
  await finish(timeline.pool, jobType, [100])
  await timeline.at(0)
  const jobId = await timeline.create({ job_type: jobType })
  for (const [seconds, eta] of [
    [0, 100],
    [50, 50],
    [99, 1],
    [100, null],
    [150, null],
  ] as const) {
    await timeline.at(seconds)
    await timeline.report({ jobId, processedCount: seconds })
    t.match(await timeline.see(jobId), { eta, source: eta === null ? null : 'history' }, `after ${seconds} s`)
  }
})

/** The learning of types, which the service does after each sweep. */
const learn = async (): Promise<unknown> => {
  const [row] = await timeline.query(`SELECT ${FUNCTIONS}.learn_recent($1, 1000) AS learned`, [
    timeline.timeAt(-86_400 * 2),
  ])
  return row?.['learned']
}

t.test(
  'a type is learned when one of its jobs completes, and later starts do not read the jobs of the type',
  async t => {
    const jobType = newType()
    await learn()
    t.equal(await learn(), 0, 'nothing has completed since')
    await finish(timeline.pool, jobType, [100, 200, 300])
    t.equal(await learn(), 1)
    t.equal(await learn(), 0)
    await timeline.pool.query("UPDATE public.progress_jobs SET job_type = 'another' WHERE job_type = $1", [jobType])
    t.match(await atStart(jobType), { eta: 200, source: 'history' })
  },
)

/** Runs one job of the type to its end, with 50 reports. */
const runOnce = async (jobType: string, seconds: number, countAt: (at: number) => number): Promise<void> => {
  await timeline.at(0)
  const jobId = await timeline.create({ job_type: jobType, total_count: 1000, own_total_count: 1000 })
  await timeline.command(jobId, 'start')
  for (let at = seconds / 50; at < seconds; at += seconds / 50) {
    await timeline.at(at)
    await timeline.report({ jobId, processedCount: Math.round(1000 * countAt(at / seconds)) })
  }
  await timeline.at(seconds)
  await timeline.command(jobId, 'complete', {})
}

t.test(
  'after earlier runs, a job whose second half takes nine times as long has a right estimate from its beginning',
  async t => {
    const jobType = newType()
    const shape = (moment: number) => (moment < 0.1 ? 5 * moment : 0.5 + (moment - 0.1) / 1.8)
    for (const seconds of [900, 1000, 1100, 1200, 1300]) await runOnce(jobType, seconds, shape)
    await learn()
    await timeline.at(0)
    const jobId = await timeline.create({ job_type: jobType, total_count: 5000, own_total_count: 5000 })
    await timeline.command(jobId, 'start')
    for (let at = 20; at < 2000; at += 20) {
      await timeline.at(at)
      await timeline.report({ jobId, processedCount: Math.round(5000 * shape(at / 2000)) })
      if (at % 200 !== 100 || at < 300) continue
      const { eta, source } = await timeline.see(jobId)
      t.ok(Math.abs((eta ?? 0) - (2000 - at)) < 0.25 * (2000 - at), `after ${at} s ${eta} are left of ${2000 - at}`)
      t.equal(source, 'history')
    }
  },
)

t.test('if the runs of a type have nothing in common, the estimate follows the rate', async t => {
  const jobType = newType()
  for (const [n, seconds] of [100, 3000, 700, 12_000, 300].entries()) {
    await runOnce(jobType, seconds, moment => moment ** [0.3, 3, 1, 0.5, 2][n]!)
  }
  await learn()
  await timeline.at(0)
  const jobId = await timeline.create({ job_type: jobType, total_count: 1000, own_total_count: 1000 })
  await timeline.command(jobId, 'start')
  for (let at = 20; at <= 500; at += 20) {
    await timeline.at(at)
    await timeline.report({ jobId, processedCount: at })
  }
  const { eta } = await timeline.see(jobId)
  t.ok(Math.abs((eta ?? 0) - 500) < 100, `${eta} is about 500`)
})

t.test('durations of 0, or of a clock that was set back, give no estimate', async t => {
  const jobType = newType()
  await finish(timeline.pool, jobType, [0])
  t.match(await atStart(jobType), { eta: null, source: null })
  await finish(timeline.pool, jobType, [-3600, -3600, -3600])
  t.match(await atStart(jobType), { eta: null, source: null })
  const jobId = await timeline.create({ job_type: jobType })
  t.match(await timeline.report({ jobId }), [{ kind: 'written' }], 'and a report can start a job')
})

/** What a reader sees of a job that runs at constant speed, every `step` seconds. */
const follow = async (
  timeline: Timeline,
  {
    jobType,
    fields,
    seconds,
    step,
    report,
  }: {
    jobType: string
    fields: Record<string, unknown>
    seconds: number
    step: number
    report: (at: number) => Partial<Heartbeat>
  },
): Promise<Seen[]> => {
  await timeline.at(0)
  const jobId = await timeline.create({ job_type: jobType, ...fields })
  await timeline.command(jobId, 'start')
  const seen: Seen[] = []
  for (let at = step; at < seconds; at += step) {
    await timeline.at(at)
    const [outcome] = await timeline.report({ jobId, ...report(at) })
    if (outcome?.kind !== 'written') throw new Error(`A report was not written: ${JSON.stringify(outcome)}`)
    seen.push(await timeline.see(jobId))
  }
  return seen
}

/** The largest jump of the estimate beside the time that went by, as a part of what the job takes or was expected to. */
const largestJump = (seen: Seen[], step: number, whole: number): number =>
  Math.max(
    ...seen.slice(1).map(({ eta }, n) => {
      const before = seen[n]?.eta ?? null
      return eta === null || before === null ? Infinity : Math.abs(eta - Math.max(0, before - step)) / whole
    }),
  )

for (const seconds of [300, 1500]) {
  t.test(`the estimate does not jump between history and rate: usual are 600 s, this job takes ${seconds}`, async t => {
    const jobType = newType()
    await finish(timeline.pool, jobType, [600])
    const step = seconds / 300
    const report = (at: number) => ({ processedCount: Math.round((300 * at) / seconds) })
    const seen = await follow(timeline, { jobType, fields: { total_count: 300 }, seconds, step, report })
    const jump = largestJump(seen, step, Math.max(600, seconds))
    t.ok(jump < 0.08, `the largest jump is ${jump}`)
    const last = seen.at(-1)?.eta ?? Infinity
    t.ok(last < 0.05 * 600, `and at the end it is right: ${last}`)
  })
}

t.test('between two percents the time left counts down, up to the mean time of a percent', async t => {
  const report = (at: number) => ({ progressPercent: Math.min(30, Math.floor(at / 10)) })
  const seen = await follow(timeline, { jobType: newType(), fields: {}, seconds: 325, step: 5, report })
  const etas = seen.map(({ eta }) => eta ?? Infinity)
  // Whole seconds are rounded up.
  for (const [n, eta] of etas.slice(1, 62).entries())
    t.ok(Math.abs(eta - (990 - 5 * n)) <= 1, `${eta} at ${10 + 5 * n} s`)
  const late = etas.slice(61)
  t.ok(
    late.every((eta, n) => n === 0 || eta > (late[n - 1] ?? 0)),
    `and then it grows, because no percent has come: ${late.join(', ')}`,
  )
})

const THREE_STAGES = ['fetch', 'work', 'store'].map(name => ({ name, weight: 1 / 3 }))

for (const seconds of [300, 600, 1200]) {
  t.test(
    `the estimate of a job with stages, or with a percent alone, does not jump: usual are 600 s, this job takes ${seconds}`,
    async t => {
      const jobType = newType()
      await finish(timeline.pool, jobType, [600])
      const step = seconds / 300
      const inStages = (at: number) => {
        const done = Math.round((300 * at) / seconds)
        return {
          stage: THREE_STAGES[Math.floor(done / 100)]?.name ?? 'store',
          processedCount: done % 100,
          totalCount: 100,
        }
      }
      const byPercent = (at: number) => ({ progressPercent: Math.floor((100 * at) / seconds) })
      for (const [name, fields, report] of [
        ['in stages', { stages: THREE_STAGES }, inStages],
        ['by percent', {}, byPercent],
      ] as const) {
        const seen = await follow(timeline, { jobType, fields, seconds, step, report })
        const jump = largestJump(seen, step, Math.max(600, seconds))
        t.ok(jump < (seconds === 600 ? 0.02 : 0.1), `${name}: the largest jump is ${jump}`)
        t.ok(
          (seen.at(-1)?.eta ?? Infinity) < 0.05 * 600,
          `${name}: at the end it is right: ${JSON.stringify(seen.slice(-3))}`,
        )
      }
    },
  )
}

t.test('with 100,000 finished jobs a type is learned from 20 of them, found by an index', async t => {
  const { pool } = await createTestDatabase(t)
  const jobType = 'usual'
  const batch = `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, children, partition_count)
    SELECT $1, $2, 'batch', 60, '{}', 1000 FROM generate_series(1, 50) RETURNING id`
  const { rows } = await pool.query<{ id: string }>(batch, [tenantId, jobType])
  const durations = Array.from({ length: 50_000 }, (_, n) => n % 1000)
  await finish(pool, jobType, durations)
  await Promise.all(rows.map(({ id }) => finish(pool, jobType, durations.slice(0, 1000), { batchId: id })))
  await pool.query('ANALYZE progress_jobs')

  const client = await pool.connect()
  t.teardown(() => client.release())
  /** The rows of the table that this session has read and not yet added to the shared statistics. */
  const read = async () => {
    const { rows } = await client.query<{ scans: number; rows: number }>(
      `SELECT seq_scan::integer AS scans, idx_tup_fetch::integer AS rows FROM pg_stat_xact_user_tables
       WHERE relname = 'progress_jobs'`,
    )
    return rows[0] ?? { scans: NaN, rows: NaN }
  }
  await client.query('BEGIN')
  const before = await read()
  // A statement of a function is planned for its values at first, and later once for all.
  for (let n = 0; n < 7; n += 1) {
    for (const isPartition of [false, true]) {
      await client.query(`SELECT ${FUNCTIONS}.learn($1, $2, $3)`, [tenantId, jobType, isPartition])
    }
  }
  const after = await read()
  await client.query('COMMIT')
  t.equal(after.scans - before.scans, 0, 'no scan of the table')
  t.ok(after.rows - before.rows <= 14 * 20, `${after.rows - before.rows} rows in 14 look-ups`)
})

t.test('a rate that a worker states counts at once, also if there is a history of the type', async t => {
  const jobType = newType()
  await finish(timeline.pool, jobType, [1000])
  const begin = async () => {
    await timeline.at(0)
    const jobId = await timeline.create({ job_type: jobType, total_count: 1000, own_total_count: 1000 })
    await timeline.command(jobId, 'start')
    await timeline.at(60)
    return jobId
  }
  const stated = await begin()
  await timeline.report({ jobId: stated, processedCount: 600, throughputPerSecond: 50 })
  t.match(await timeline.see(stated), { eta: 8, source: 'rate' }, 'of the only worker')

  const another = await begin()
  await timeline.report({ jobId: another, workerId: 'a', processedCount: 500, throughputPerSecond: 40 })
  await timeline.report({ jobId: another, workerId: 'b', processedCount: 100 })
  t.match(await timeline.see(another), { source: 'rate' }, 'of one of them')
  await timeline.at(61)
  await timeline.report({ jobId: another, workerId: 'b', processedCount: 110 })
  t.match(await timeline.see(another), { source: 'rate' }, 'while the other one reports')

  const measured = await begin()
  await timeline.report({ jobId: measured, processedCount: 600 })
  t.match(
    await timeline.see(measured),
    { eta: 92, source: 'history' },
    'one that is measured counts after three advances',
  )
})

t.test('a rate that a worker states for a new stage counts at once', async t => {
  await timeline.at(0)
  const stages = [
    { name: 'one', weight: 0.1 },
    { name: 'two', weight: 0.9 },
  ]
  const jobId = await timeline.create({ stages })
  await timeline.report({ jobId, processedCount: 1, totalCount: 1 })
  await timeline.at(100)
  await timeline.report({ jobId, stage: 'two', processedCount: 1, totalCount: 1001, throughputPerSecond: 10 })
  t.match(await timeline.see(jobId), { eta: 100 })
})

t.test('a change of a job without a report leaves its likely end where it was', async t => {
  const sweeper = '22222222-2222-4222-8222-222222222222'
  await timeline.query(`SELECT ${FUNCTIONS}.visit($1, 5, false, NULL, NULL)`, [sweeper])
  await timeline.query("UPDATE public.service_processes SET healthy_since = now() - interval '1 day'", [])
  const changes: Record<string, (jobId: string) => Promise<unknown>> = {
    'a sweep finds it stalled': () => timeline.query(`SELECT ${FUNCTIONS}.mark_stalled($1, 5, 30, 500)`, [sweeper]),
    'somebody asks it to stop': jobId => timeline.command(jobId, 'cancel'),
    'it is overdue': async jobId => {
      await timeline.query('UPDATE public.progress_jobs SET finish_by = $2 WHERE id = $1', [jobId, timeline.timeAt(1)])
      await timeline.query(`SELECT ${FUNCTIONS}.judge_deadlines(5, 500)`, [])
    },
    'it takes longer than usual': async jobId => {
      await timeline.query('UPDATE public.progress_jobs SET long_seconds = 1 WHERE id = $1', [jobId])
      await timeline.query(`SELECT ${FUNCTIONS}.mark_unusual(500)`, [])
    },
  }
  const estimateOf = async (jobId: string) => {
    const [row] = await timeline.query(
      `SELECT eta_seconds::float8 AS eta, ${FUNCTIONS}.eta_low_seconds(j)::float8 AS low,
         ${FUNCTIONS}.eta_high_seconds(j)::float8 AS high, revision::float8 AS revision, updated_at
       FROM public.progress_jobs j WHERE id = $1`,
      [jobId],
    )
    return row as { eta: number; low: number; high: number; revision: number; updated_at: Date }
  }
  for (const [name, change] of Object.entries(changes)) {
    for (const [second, eta] of [
      [30, 70],
      // The likely end has passed: nothing is left, and no time is negative.
      [130, 0],
    ] as const) {
      await timeline.at(0)
      const jobId = await timeline.create({ cancellable: true, job_type: newType() })
      await timeline.report({ jobId, etaSeconds: 100 })
      await timeline.query('UPDATE public.progress_jobs SET eta_spread = 0.5 WHERE id = $1', [jobId])
      const { revision } = await estimateOf(jobId)
      await timeline.at(second)
      await change(jobId)
      const after = await estimateOf(jobId)
      t.match(after, { eta, revision: revision + 1, updated_at: new Date(timeline.timeAt(second)) }, name)
      t.ok(after.low <= eta && eta <= after.high, `${name}: the range is around it`)
      t.match(await timeline.see(jobId), { eta })
    }
  }
})

t.test('the range of a job is wider where its workers have paused, whichever statement writes the report', async t => {
  // 20 advances of 10 items, each in 10 s of work, and with pauses of 60 s after every fifth.
  const spreadOf = async (pause: number, workers: string[], message: string | null) => {
    await timeline.at(0)
    const jobId = await timeline.create({ job_type: newType(), total_count: 400 * workers.length })
    // One by one: headway.flush_plain writes one report of a job at a time.
    const report = async (processedCount: number) => {
      for (const workerId of workers)
        await timeline.report({ jobId, workerId, processedCount, ...(message !== null && { message, unit: 'items' }) })
    }
    await report(0)
    for (let n = 1; n <= 20; n += 1) {
      await timeline.at(10 * n + pause * Math.floor(n / 5))
      await report(10 * n)
    }
    const [row] = await timeline.query('SELECT eta_spread::float8 AS spread FROM public.progress_jobs WHERE id = $1', [
      jobId,
    ])
    return row?.['spread'] as number
  }
  for (const [workers, message] of [
    [['default'], null],
    [['default'], 'a field that headway.flush_any writes'],
    [['a', 'b'], null],
  ] as const) {
    const even = await spreadOf(0, [...workers], message)
    const paused = await spreadOf(60, [...workers], message)
    // Of four pauses of 60 s in 440 s, the longest gap has 70 s; half of the job is left.
    const expected = Math.log(1 + (240 * 70) / 2 / 440 ** 2 / 0.5)
    const found = paused ** 2 - even ** 2
    t.ok(Math.abs(found - expected) < 0.02, `${workers.join()} ${message}: ${found} is ${expected}`)
  }
})

t.test('the slowest share decides the time left, until workers take over shares of each other', async t => {
  for (const message of [null, 'a field that headway.flush_any writes']) {
    const shares = async (totals: number[], own: number | null = null) => {
      await timeline.at(0)
      const jobId = await timeline.create({ job_type: newType(), total_count: own })
      // One by one: headway.flush_plain writes one report of a job at a time.
      const report = async (counts: number[], named = totals) => {
        for (const [n, processedCount] of counts.entries())
          await timeline.report({
            jobId,
            workerId: `worker ${n}`,
            processedCount,
            totalCount: named[n]!,
            ...(message !== null && { message, unit: 'items' }),
          })
      }
      await report([0, 0])
      for (let second = 10; second <= 100; second += 10) {
        await timeline.at(second)
        await report([second, second])
      }
      return { eta: async () => (await timeline.see(jobId)).eta, report }
    }
    const job = await shares([200, 1000])
    t.equal(await job.eta(), 900, 'of 1,000 items, at one in a second')
    await timeline.at(110)
    await job.report([110, 110], [300, 900])
    t.equal(await job.eta(), 490, 'a share became smaller: 980 items, at two in a second')
    await timeline.at(120)
    await job.report([120, 120], [300, 900])
    t.equal(await job.eta(), 480, 'and it stays so')
    const beyond = await shares([90, 1000])
    t.equal(await beyond.eta(), 445, 'a worker has done more than its share')
    const part = await shares([200, 1000], 2000)
    t.equal(await part.eta(), 900, 'shares of a part of the job say nothing of the rest')
  }
})

t.test(
  'the range of a time left is limited to what JSON carries, and is null without a spread or an estimate',
  async t => {
    await timeline.at(0)
    const jobId = await timeline.create({ job_type: newType() })
    await timeline.report({ jobId, processedCount: 1 })
    const most = '9007199254740991'
    for (const [eta, spread, high] of [
      [most, 5, most],
      ['100', 0.5, '190'],
      ['100', null, null],
      [null, 0.5, null],
    ] as const) {
      const [row] = await timeline.query(
        `UPDATE public.progress_jobs j SET eta_seconds = $2, eta_spread = $3 WHERE id = $1
       RETURNING ${FUNCTIONS}.eta_low_seconds(j) IS NULL AS "isNull", ${FUNCTIONS}.eta_high_seconds(j)::text AS high`,
        [jobId, eta, spread],
      )
      t.same(row, { isNull: high === null, high })
    }
  },
)

t.test(
  'Postgres puts the formulas of ranges and deadlines into the statement and calls no function for each job',
  async t => {
    const plan = async (text: string) =>
      (await timeline.query(`EXPLAIN (VERBOSE, COSTS OFF) ${text}`, []))
        .map(row => String(row['QUERY PLAN']))
        .join('\n')
    for (const text of [
      `SELECT ${FUNCTIONS}.eta_low_seconds(j), ${FUNCTIONS}.eta_high_seconds(j) FROM public.progress_jobs j`,
      `SELECT n.* FROM public.progress_jobs j CROSS JOIN LATERAL ${FUNCTIONS}.next_deadline(j, now(), 5) n`,
      `SELECT ${FUNCTIONS}.shown_deadline(j), ${FUNCTIONS}.is_unusual(j), ${FUNCTIONS}.usual_seconds(j) FROM public.progress_jobs j`,
    ]) {
      const found = await plan(text)
      t.match(found, /Scan on public.progress_jobs/)
      t.notMatch(found, FUNCTIONS)
    }
  },
)
