import fc from 'fast-check'
import t from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import { startTimeline } from '../helpers/timeline.ts'

const { tenantId } = OPEN_IDENTITY
const timeline = await startTimeline(t)

interface Report {
  worker: string
  processed_count?: number
  increment?: number
  total_count?: number
  message?: string
  /** Seconds that the worker's clock is behind. */
  behind?: number
  attempt?: number
  /** Who reports, where it is not somebody who may report for every job of the tenant. */
  scope?: undefined | 'organization' | 'no organization' | 'its token' | "another's token" | 'another tenant'
}
type Step =
  /** `both`: the same flush holds it for another job as well. */
  | { kind: 'report'; after: number; both: boolean; report: Report }
  /** Fields that only flush_any writes, so that there are rows that flush_plain must keep or follow. */
  | { kind: 'rare'; report: Record<string, unknown> }
  | { kind: 'command'; command: 'cancel' | 'retry' | 'fail' }

const count = fc.integer({ min: 0, max: 3_000 })
const worker = fc.constantFrom('default', 'a', 'b')
const report: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('report' as const),
  after: fc.constantFrom(0, 0.001, 0.3, 1, 1, 5, 7, 29, 55, 61),
  both: fc.boolean(),
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
        scope: fc.oneof(
          { weight: 10, arbitrary: fc.constant(undefined) },
          {
            weight: 1,
            arbitrary: fc.constantFrom(
              'organization' as const,
              'no organization' as const,
              'its token' as const,
              "another's token" as const,
              'another tenant' as const,
            ),
          },
        ),
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
    fc.record({
      worker_id: worker,
      unit: fc.constantFrom('rows', 'rows', 'files'),
      processed_count: count,
    }),
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

/** All columns of a job and its batch, except those that differ between the two jobs of a pair. */
const STORED = `
  SELECT jsonb_build_object(
    'job', to_jsonb(j) - 'id' - 'parent_job_id' - 'finished_xact'
      #- '{children,failures,0,id}' #- '{children,failures,1,id}',
    'workers', (SELECT jsonb_agg(to_jsonb(w) - 'job_id' ORDER BY w.worker_id) FROM public.job_progress w WHERE w.job_id = j.id),
    'history', (SELECT jsonb_agg(to_jsonb(e) - 'job_id' - 'id' ORDER BY e.id) FROM public.job_events e WHERE e.job_id = j.id)
  ) AS stored FROM public.progress_jobs j
  WHERE j.id = ANY ($1) OR j.id = ANY (SELECT parent_job_id FROM public.progress_jobs WHERE id = ANY ($1))
  ORDER BY j.name, array_position($1, j.id)`
const stored = (ids: string[]) => timeline.query(STORED, [ids])

type Way = 'plain' | 'any'

/** What headway.flush takes of plain heartbeats, in its order, by the names of the records of the others. */
const COLUMNS = [
  'job_id',
  'tenant_id',
  'worker_id',
  'attempt',
  'organization_bound',
  'organization_id',
  'scope_job_id',
  'actor',
  'processed_count',
  'increment',
  'total_count',
  'message',
  'reported_at',
]

/** On the connection whose clock is the timeline's. */
const flush = (ids: string[], way: Way, records: Record<string, unknown>[]): Promise<Record<string, unknown>[]> => {
  const plain = records.map(record => ({ ...record, organization_bound: record['all_organizations'] === false }))
  const columns = COLUMNS.map(name => plain.map(record => (record as Record<string, unknown>)[name] ?? null))
  return timeline.query(
    `SELECT * FROM ${FUNCTIONS}.flush(false, $1, $2, $3, ${COLUMNS.map((_, i) => `$${i + 4}`).join(', ')})
    WHERE items IS NOT NULL ORDER BY items`,
    [
      [tenantId, STRANGER],
      ...(way === 'plain' ? [null, null, ...columns] : [ids, JSON.stringify(records), ...COLUMNS.map(() => null)]),
    ],
  )
}

const STRANGER = '11111111-1111-4111-8111-111111111111'
const ORGANIZATION = '22222222-2222-4222-8222-222222222222'

const scopeOf = (scope: Report['scope'], jobId: string): Record<string, unknown> => {
  const all = { tenant_id: tenantId, all_organizations: true }
  switch (scope) {
    case 'organization':
      return { tenant_id: tenantId, all_organizations: false, organization_id: ORGANIZATION }
    case 'no organization':
      return { tenant_id: tenantId, all_organizations: false }
    case 'its token':
      return { ...all, scope_job_id: jobId }
    case "another's token":
      return { ...all, scope_job_id: STRANGER }
    case 'another tenant':
      return { ...all, tenant_id: STRANGER }
    case undefined:
      return all
  }
}

/** Answers by item: which of them share a row is the way's own affair. */
const byItem = (rows: Record<string, unknown>[]): Record<string, unknown>[] =>
  rows
    .flatMap(({ items, progress_percents, revisions, applied, ...shared }) =>
      (items as number[]).map((item, place) => ({
        item,
        ...shared,
        percent: (progress_percents as number[] | null)?.[place],
        revision: (revisions as number[] | null)?.[place],
        applied: (applied as boolean[] | null)?.[place] ?? shared['code'] === null,
      })),
    )
    .sort((a, b) => a.item - b.item)

/** Two jobs of the same kind. */
const createPair = async ({ partitions, ...fields }: Record<string, unknown>): Promise<string[]> => {
  const create = (over: object) => timeline.create({ ...fields, ...over })
  const batch = { name: 'batch', children: {}, partition_count: 2, total_count: null, own_total_count: null }
  const parent_job_id = partitions ? await create(batch) : undefined
  return [await create({ parent_job_id, name: 'one' }), await create({ parent_job_id, name: 'two' })]
}

/** Jobs of this type take five minutes, and the next ones are expected to take as long. */
const KNOWN_TYPE = 'known'
for (let n = 0; n < 5; n += 1) {
  await timeline.at(n * 400)
  const jobId = await timeline.create({ job_type: KNOWN_TYPE })
  await timeline.report({ jobId, processedCount: 1 })
  await timeline.at(n * 400 + 300)
  await timeline.command(jobId, 'complete')
}

t.test('both functions that write a plain heartbeat have the same result', async t => {
  let plain = 0
  let reports = 0
  let now = 2_000
  const run = async (program: Step[], jobFields: Record<string, unknown>) => {
    await timeline.at((now += 1))
    const twins: Record<Way, string[]> = { plain: await createPair(jobFields), any: await createPair(jobFields) }
    for (const step of program) {
      if (step.kind === 'report') await timeline.at((now += step.after))
      const answers: unknown[] = []
      for (const [way, ids] of Object.entries(twins) as [Way, string[]][]) {
        const [first = ''] = ids
        if (step.kind === 'command') {
          const input = step.command === 'fail' ? { errorMessage: 'no' } : {}
          answers.push(await timeline.tryCommand(first, step.command, input))
          continue
        }
        if (step.kind === 'rare') {
          await flush([first], 'any', [{ i: 0, job_id: first, ...scopeOf(undefined, first), ...step.report }])
          continue
        }
        const { worker: worker_id, behind, scope, ...fields } = step.report
        const reported_at = behind === undefined ? undefined : timeline.timeAt(now - behind)
        const reported = step.both ? ids : [first]
        const records = reported.map((job_id, i) => ({
          i,
          job_id,
          ...scopeOf(scope, job_id),
          worker_id,
          reported_at,
          ...fields,
        }))
        const rows = await flush(reported, way, records)
        if (way === 'plain') {
          reports += reported.length
          // Only flush_plain answers one row for several heartbeats, without `applied`.
          for (const { code, applied, items } of rows)
            if (code === null && applied === null) plain += (items as number[]).length
        }
        answers.push(byItem(rows))
      }
      t.strictSame(answers[0], answers[1], JSON.stringify(step))
      t.strictSame(await stored(twins.plain), await stored(twins.any), JSON.stringify(program))
    }
  }
  const jobs = fc.constantFrom<Record<string, unknown>>(
    { cancellable: true },
    { total_count: 5_000, own_total_count: 5_000, heartbeat_timeout_seconds: 60 },
    { total_count: 5_000, own_total_count: 5_000, cancellable: true, unit: 'rows' },
    { total_count: 5_000, own_total_count: 5_000, organization_id: ORGANIZATION, job_type: KNOWN_TYPE },
    { total_count: 5_000, own_total_count: 5_000, partitions: true },
    {},
    { stages: [{ name: 'a', weight: 1 }] },
  )
  const reportOf = (after: number, fields: Report): Step => ({ kind: 'report', after, both: false, report: fields })
  const examples: [Step[], Record<string, unknown>][] = [
    // The first advance of a job with a history.
    [
      [reportOf(1, { worker: 'default' }), reportOf(7, { worker: 'default', increment: 300 })],
      { total_count: 5_000, own_total_count: 5_000, job_type: KNOWN_TYPE },
    ],
    // A worker that joins, and reports again at the same moment by another clock.
    [
      [
        reportOf(1, { worker: 'default', increment: 1 }),
        reportOf(5, { worker: 'a', behind: 2 }),
        reportOf(0, { worker: 'a', behind: 0 }),
      ],
      {},
    ],
    // A pause, and a second long gap in a row.
    [
      [
        ...Array.from({ length: 4 }, () => reportOf(5, { worker: 'default', increment: 10 })),
        ...Array.from({ length: 3 }, () => reportOf(55, { worker: 'default', increment: 10 })),
      ],
      { total_count: 100, own_total_count: 100 },
    ],
  ]
  // The examples are always the same: how many of them are written the plain way is no matter of luck.
  await fc.assert(fc.asyncProperty(steps, jobs, run), { numRuns: examples.length, endOnFailure: true, examples })
  t.ok(plain > reports / 2, `${plain} of ${reports} were written the plain way`)
  await fc.assert(fc.asyncProperty(steps, jobs, run), { numRuns: 20, endOnFailure: true })
})
