import fc from 'fast-check'
import t from 'tap'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import { startTimeline } from '../helpers/timeline.ts'

const { tenantId } = OPEN_IDENTITY
const timeline = await startTimeline(t)
const { pool } = timeline

interface Report {
  worker: string
  processed_count?: number
  increment?: number
  total_count?: number
  message?: string
  /** Seconds that the worker's clock is behind. */
  behind?: number
  attempt?: number
}
type Step =
  | { kind: 'report'; after: number; report: Report }
  /** What only flush_any knows, so that it leaves rows behind which the plain way must leave alone or go by. */
  | { kind: 'rare'; report: Record<string, unknown> }
  | { kind: 'command'; command: 'cancel' | 'retry' | 'fail' }

const count = fc.integer({ min: 0, max: 3_000 })
const worker = fc.constantFrom('default', 'a', 'b')
const report: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('report' as const),
  after: fc.constantFrom(0, 0.001, 0.3, 1, 1, 5, 7, 29, 55, 61),
  report: fc
    .record(
      {
        worker,
        amount: fc.oneof(
          { weight: 1, arbitrary: count.map(processed_count => ({ processed_count })) },
          { weight: 3, arbitrary: fc.integer({ min: 0, max: 300 }).map(increment => ({ increment })) },
        ),
        total_count: fc.integer({ min: 3_000, max: 9_000 }),
        message: fc.constantFrom('one', 'two'),
        behind: fc.constantFrom(0, 0, 2, 200, 400),
        attempt: fc.oneof({ weight: 20, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.constant(2) }),
      },
      { requiredKeys: ['worker'] },
    )
    .map(({ amount, ...rest }) => ({ ...rest, ...amount })),
})
const rare: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('rare' as const),
  report: fc.oneof(
    fc.record({ worker_id: worker, progress_percent: fc.integer({ min: 0, max: 100 }) }),
    fc.record({ worker_id: worker, eta_seconds: fc.integer({ min: 0, max: 500 }) }),
    fc.record({ worker_id: worker, throughput_per_second: fc.double({ min: 0, max: 50, noNaN: true }) }),
    fc.record({
      worker_id: worker,
      clears: fc.subarray(['progress_percent', 'eta_seconds', 'throughput_per_second', 'total_count', 'message']),
    }),
  ),
})
const command: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('command' as const),
  command: fc.constantFrom('cancel', 'fail', 'retry'),
})
const steps = fc.array(
  fc.oneof({ weight: 30, arbitrary: report }, { weight: 2, arbitrary: rare }, { weight: 1, arbitrary: command }),
  { minLength: 20, maxLength: 40, size: 'max' },
)

/** Everything that is stored of a job, but for what tells it from its twin. */
const STORED = `
  SELECT jsonb_build_object(
    'job', to_jsonb(j) - 'id' - 'parent_job_id',
    'workers', (SELECT jsonb_agg(to_jsonb(w) - 'job_id' ORDER BY w.worker_id) FROM job_progress w WHERE w.job_id = j.id),
    'history', (SELECT jsonb_agg(to_jsonb(e) - 'job_id' - 'id' ORDER BY e.id) FROM job_events e WHERE e.job_id = j.id)
  ) AS stored FROM progress_jobs j WHERE j.id = $1`
const stored = async (id: string): Promise<unknown> => (await pool.query(STORED, [id])).rows[0]

/** The connection whose clock is the timeline's. */
const flush = (id: string, way: 'plain' | 'any', record: object): Promise<Record<string, unknown>[]> =>
  timeline.query('SELECT * FROM headway.flush($1, $2, $3, false) WHERE items IS NOT NULL', [
    [id],
    ...(way === 'plain' ? [JSON.stringify([record]), null] : [null, JSON.stringify([record])]),
  ])

t.test('a plain heartbeat comes to the same, whichever way it is written', async t => {
  let plain = 0
  let reports = 0
  let now = 0
  const run = async (program: Step[], jobFields: Record<string, unknown>) => {
    await timeline.at((now += 1))
    const twins = { plain: await timeline.create(jobFields), any: await timeline.create(jobFields) }
    for (const step of program) {
      if (step.kind === 'report') await timeline.at((now += step.after))
      const answers: unknown[] = []
      for (const [way, id] of Object.entries(twins) as ['plain' | 'any', string][]) {
        if (step.kind === 'command') {
          const input = step.command === 'fail' ? { errorMessage: 'no' } : {}
          answers.push(await timeline.tryCommand(id, step.command, input))
          continue
        }
        const base = { i: 0, job_id: id, tenant_id: tenantId, all_organizations: true }
        if (step.kind === 'rare') {
          await flush(id, 'any', { ...base, ...step.report })
          continue
        }
        const { worker: worker_id, behind, ...fields } = step.report
        const reported_at = behind === undefined ? undefined : timeline.timeAt(now - behind)
        const [answer] = await flush(id, way, { ...base, worker_id, reported_at, ...fields })
        if (way === 'plain') {
          reports += 1
          // What applies to all is not said for each: only the plain way can know that.
          if (answer?.['code'] === null && answer['applied'] === null) plain += 1
        }
        answers.push({ ...answer, applied: answer?.['applied'] ?? (answer?.['code'] === null ? [true] : null) })
      }
      t.strictSame(answers[0], answers[1], JSON.stringify(step))
      t.strictSame(await stored(twins.plain), await stored(twins.any), JSON.stringify(program))
    }
  }
  const jobs = fc.constantFrom<Record<string, unknown>>(
    { cancellable: true },
    { total_count: 5_000, own_total_count: 5_000, heartbeat_timeout_seconds: 60 },
    { total_count: 5_000, own_total_count: 5_000, cancellable: true },
    {},
    { stages: [{ name: 'a', weight: 1 }] },
  )
  await fc.assert(fc.asyncProperty(steps, jobs, run), { numRuns: 30, interruptAfterTimeLimit: 20_000 })
  t.ok(plain > reports / 6, `${plain} of ${reports} were written the plain way`)
})
