import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { type JobDocument } from '../../src/contract/job.ts'
import { LIFECYCLES } from '../../src/contract/states.ts'
import type { Reply, Service } from '../helpers/service.ts'
import { startBatchWorld } from './batch-world.ts'
import { BatchModel, type Step } from './batch-model.ts'

const { service, other, pool, endAbandoned, markStalled, silence, create } = await startBatchWorld(t)

interface Program {
  count: number
  /** How many partitions are made with the batch. */
  made: number
  totals: (number | null)[]
  cancellable: boolean
  steps: Step[]
}

const MAX_PARTITIONS = 5
const total = fc.option(fc.integer({ min: 0, max: 20 }), { nil: null, freq: 3 })
const place = fc.nat(MAX_PARTITIONS - 1)
const unit = fc.constantFrom('rows' as const, 'rows' as const, 'rows' as const, 'files' as const)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('heartbeat' as const),
      place,
      body: fc.record({ processedCount: fc.nat(20), totalCount: total, unit }, { requiredKeys: [] }),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constantFrom('start', 'complete', 'complete', 'fail', 'cancel', 'cancelled', 'retry'),
      place,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('cancel', 'retry', 'retry', 'retry', 'complete'),
      place: fc.constant('batch' as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('sweep' as const), place, seconds: fc.constantFrom(31, 61, 61) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('make' as const),
      index: fc.option(fc.nat(MAX_PARTITIONS), { nil: null }),
      totalCount: total,
    }),
  },
)

const program: fc.Arbitrary<Program> = fc.record({
  count: fc.integer({ min: 1, max: MAX_PARTITIONS }),
  made: fc.integer({ min: 1, max: MAX_PARTITIONS }),
  totals: fc.array(total, { minLength: MAX_PARTITIONS, maxLength: MAX_PARTITIONS }),
  cancellable: fc.constantFrom(true, true, false),
  steps: fc.array(step, { minLength: 6, maxLength: 16 }),
})

interface Stored {
  batch: JobDocument
  /** By index. */
  partitions: JobDocument[]
  history: string[]
}

const read = async (batchId: string): Promise<Stored> => {
  const { rows } = await pool.query<{ batch: JobDocument; partitions: JobDocument[] | null; history: string[] }>(
    `SELECT ${FUNCTIONS}.job_document(b) AS batch,
       (SELECT json_agg(${FUNCTIONS}.job_document(p) ORDER BY p.partition_index) FROM public.progress_jobs p
        WHERE p.parent_job_id = b.id) AS partitions,
       (SELECT json_agg(e.type ORDER BY e.id) FROM public.job_events e WHERE e.job_id = b.id AND e.type <> 'progress') AS history
     FROM public.progress_jobs b WHERE b.id = $1`,
    [batchId],
  )
  return { ...rows[0]!, partitions: rows[0]?.partitions ?? [] }
}

/** Places are drawn before it is known how many there are, and counts before what they are of. */
const fit = (step: Step, existing: number): Step => {
  if (!('place' in step) || step.place === 'batch') return step
  const placed = { ...step, place: step.place % existing }
  if (placed.do !== 'heartbeat') return placed
  const { processedCount = 0, totalCount } = placed.body
  const isTooMuch = typeof totalCount === 'number' && totalCount < processedCount
  return isTooMuch ? { ...placed, body: { ...placed.body, totalCount: processedCount } } : placed
}

const WITHOUT_REVISION = new Set([
  'heartbeatAt',
  'updatedAt',
  'throughputPerSecond',
  'etaSeconds',
  'etaSource',
  'etaLowSeconds',
  'etaHighSeconds',
  'revision',
])

/** The fields whose change makes a revision. */
const withoutClock = (job: JobDocument): [string, unknown][] =>
  Object.entries(job).filter(([field]) => !WITHOUT_REVISION.has(field))

/** The rules for revisions, ends and statuses that hold after every step. */
const assertConsistent = (before: JobDocument, after: JobDocument, history: string[]): void => {
  const isSame = isDeepStrictEqual(withoutClock(before), withoutClock(after))
  assert.equal(after.revision - before.revision, isSame ? 0 : 1, `revision ${after.revision}: one for each change`)
  assert.equal(after.finishedAt !== null, FINAL.has(after.status))
  const [last = ''] = history.filter(type => !STEPS_OF_RUNNING.has(type)).slice(-1)
  assert.equal(last, FINAL.has(after.status) ? after.status : last)
  assert.equal(FINAL.has(last), FINAL.has(after.status), `${history.join(', ')}: ${after.status}`)
  if (after.finishedAt !== before.finishedAt && after.finishedAt !== null)
    assert.equal(after.finishedAt, after.updatedAt)
}

const FINAL = new Set(['completed', 'failed', 'cancelled'])
const STEPS_OF_RUNNING = new Set(['stalled', 'cancel_requested'])

/** A program on a real batch, step by step beside the model. */
const run = async ({ count, made, totals, cancellable, steps }: Program): Promise<string[]> => {
  const model = new BatchModel(count, cancellable)
  const { body } = await create({
    jobType: 'model',
    partitionCount: count,
    cancellable,
    partitions: totals.slice(0, Math.min(made, count)).map((totalCount, index) => ({ name: `p${index}`, totalCount })),
  })
  const ids = (body.partitions ?? []).map(partition => partition.id)
  for (const index of ids.keys()) model.add(index)
  let before = await read(body.id)
  model.observe({ do: 'make', index: null, totalCount: null }, true, before.partitions)

  const send = (step: Step, to: Service): Promise<Reply<JobDocument & { code: string }>> => {
    if (step.do === 'make') {
      const { index, totalCount } = step
      const place = index === null ? {} : { partitionIndex: index }
      return to.call('POST', '/jobs', { parentJobId: body.id, name: `made ${ids.length}`, totalCount, ...place })
    }
    const id = step.place === 'batch' ? body.id : (ids[step.place] ?? '')
    if (step.do === 'heartbeat') return to.call('POST', `/jobs/${id}/heartbeat`, step.body)
    return to.call('POST', `/jobs/${id}/${step.do}`, step.do === 'fail' ? { errorMessage: 'no more ink' } : {})
  }

  for (const [turn, drawn] of steps.entries()) {
    const step = fit(drawn, ids.length)
    const expected = model.take(step)
    if (step.do === 'sweep') {
      await silence(ids[step.place] ?? '', step.seconds)
      await (step.seconds === 31 ? markStalled() : endAbandoned())
    } else {
      const reply = await send(step, turn % 2 === 0 ? service : other)
      const answer = 'code' in expected ? { status: reply.status, code: reply.body.code } : { status: reply.status }
      assert.deepEqual(answer, expected, JSON.stringify(step))
      if (reply.status === 201) ids.push(reply.body.id)
    }

    const after = await read(body.id)
    const partitions = ids.map(id => after.partitions.find(partition => partition.id === id)!)
    assert.deepEqual(
      partitions.map(({ status, attempt, liveness }) => ({ status, attempt, stalled: liveness === 'stalled' })),
      model.partitions.map(({ status, attempt, stalled }) => ({ status, attempt, stalled })),
    )
    assert.deepEqual(
      partitions.map(({ status, cancelRequestedAt }) => status === 'running' && cancelRequestedAt !== null),
      model.partitions.map(({ status, asked }) => status === 'running' && asked),
    )
    const revisions = ({ batch, partitions }: Stored) => [batch, ...partitions].map(({ revision }) => revision)
    const changed = !isDeepStrictEqual(revisions(before), revisions(after))
    const expectedFields = model.observe(step, changed, after.partitions)
    const actual = Object.fromEntries(
      Object.keys(expectedFields).map(key => [key, after.batch[key as keyof JobDocument]]),
    )
    assert.deepEqual(actual, expectedFields, JSON.stringify(step))
    assert.equal(after.batch.cancelRequestedAt !== null, model.asked, JSON.stringify(step))
    assert.deepEqual(after.history, model.history, JSON.stringify(step))
    assertConsistent(before.batch, after.batch, after.history)
    before = after
  }
  return before.history
}

t.test('after any commands and reports for partitions, the batch is as a model of the rules says', async t => {
  const seen = new Set<string>()
  await fc.assert(
    fc.asyncProperty(program, async program => {
      for (const type of await run(program)) seen.add(type)
    }),
    { numRuns: 100 },
  )
  // No batch of the model has a deadline.
  const possible = LIFECYCLES.filter(type => type !== 'at_risk' && type !== 'overdue')
  t.same([...seen].sort(), [...possible].sort(), 'everything that can happen to a batch has happened')
})
