import t from 'tap'
import type { Children, JobEvent, JobWithWorkers, WorkerDocument } from '../../src/contract/job.ts'
import type { LiveJob } from '../../src/contract/live-job.ts'
import {
  countsOf,
  fits,
  needsALook,
  PART_CONDITIONS,
  partsOf,
  sortParts,
  type PartSort,
} from '../../src/dashboard/data/batch-picture.ts'
import { attemptsBefore, laneOf, timeSpanOf } from '../../src/dashboard/data/batch-timeline.ts'
import { crewOf } from '../../src/dashboard/data/crew.ts'
import { lowerFence, spreadOf, upperFence } from '../../src/dashboard/data/spread.ts'

const START = Date.UTC(2026, 0, 31, 12)
const at = (seconds: number): string => new Date(START + 1000 * seconds).toISOString()
const now = (seconds: number): number => START + 1000 * seconds

/** A partition that has run for 100 s and advanced now, with 100 s left. */
const partition = (partitionIndex: number, over: Partial<LiveJob> = {}): LiveJob =>
  ({
    id: `id-${partitionIndex}`,
    name: `Part ${partitionIndex}`,
    partitionIndex,
    status: 'running',
    liveness: 'ok',
    cancelRequestedAt: null,
    startedAt: at(0),
    finishedAt: null,
    advancedAt: at(100),
    updatedAt: at(100),
    etaSeconds: 100,
    processedCount: 50,
    progressPercent: 50,
    totalCount: 100,
    stage: null,
    children: null,
    attempt: 1,
    ...over,
  }) as LiveJob

const ended = (partitionIndex: number, seconds: number, over: Partial<LiveJob> = {}): LiveJob =>
  partition(partitionIndex, {
    status: 'completed',
    liveness: null,
    finishedAt: at(seconds),
    progressPercent: 100,
    etaSeconds: null,
    ...over,
  })

const waiting = (partitionIndex: number): LiveJob =>
  partition(partitionIndex, {
    status: 'pending',
    liveness: null,
    startedAt: null,
    advancedAt: null,
    etaSeconds: null,
    processedCount: 0,
    progressPercent: 0,
  })

t.test('a number is an outlier only beyond the fences, and among at least five', t => {
  t.equal(spreadOf([1, 2, 3, 4]), null)
  t.equal(spreadOf([]), null)
  const even = spreadOf([10, 10, 10, 10, 10])!
  t.match(even, { least: 10, lowerQuartile: 10, median: 10, upperQuartile: 10, most: 10 })
  t.same([lowerFence(even), upperFence(even)], [10 / 1.5, 15])
  const wide = spreadOf([9, 1, 8, 2, 7, 3, 6, 4, 5])!
  t.match(wide, { count: 9, least: 1, lowerQuartile: 3, median: 5, upperQuartile: 7, most: 9 })
  t.equal(upperFence(wide), 13)
  t.ok(lowerFence(wide) < 0, 'where speeds differ widely, none is slow')
  t.end()
})

t.test('a partition is slow if it is expected to take unusually long among those of its batch', t => {
  const usual = [0, 1, 2, 3].map(index => ended(index, 200 + index))
  const slowOnes = (...jobs: LiveJob[]) =>
    partsOf([...usual, ...jobs], now(100)).flatMap(({ isSlow, job }) => (isSlow ? [job.partitionIndex] : []))
  t.same(slowOnes(partition(4)), [])
  t.same(slowOnes(partition(4, { etaSeconds: 900 })), [4])
  t.same(slowOnes(partition(4, { etaSeconds: null }), ended(5, 900)), [5], 'also when it has ended')
  t.same(slowOnes(ended(4, 900, { status: 'failed' }), ended(5, 210)), [], 'a failure is not slow')
  t.same(slowOnes(waiting(4), ended(5, 210)), [])
  t.same(partsOf([partition(0, { etaSeconds: 9_000 })], now(100))[0]?.isSlow, false, 'alone, nothing is unusual')
  const long = partsOf([...usual, ended(4, 210), partition(5, { etaSeconds: null, advancedAt: at(2_000) })], now(2_000))
  t.ok(long[5]?.isSlow, 'and what runs already longer needs no estimate')
  t.end()
})

t.test('partitions in trouble come first: failed, stalled, not advancing, slow', t => {
  const jobs = [
    ended(0, 200),
    waiting(1),
    partition(2),
    partition(3, { etaSeconds: 9_000 }),
    partition(4, { advancedAt: at(10) }),
    partition(5, { liveness: 'stalled' }),
    ended(6, 20, { status: 'failed' }),
    ended(7, 20, { status: 'cancelled' }),
    ...[8, 9, 10, 11].map(index => ended(index, 200)),
  ]
  const parts = partsOf(jobs, now(100))
  const order = (sort: PartSort) => sortParts(parts, sort).map(({ job }) => job.partitionIndex)
  t.same(order('trouble').slice(0, 7), [6, 5, 4, 3, 2, 1, 7])
  t.same(
    parts.filter(needsALook).map(({ job }) => job.partitionIndex),
    [3, 4, 5, 6],
  )
  t.same(order('index').slice(0, 3), [0, 1, 2])
  t.same(order('name').slice(-3), [9, 10, 11], '9 comes before 10')
  t.equal(order('done').at(-1), 1, 'what has not begun comes last')
  t.same(order('left').slice(0, 2), [3, 2])
  t.equal(order('took').at(-1), 1)
  t.end()
})

t.test('partitions are counted by their conditions, and those that need a look or are slow as well', t => {
  const jobs = [
    ended(0, 9_000),
    waiting(1),
    partition(2),
    partition(3, { etaSeconds: 9_000 }),
    partition(4, { advancedAt: at(10) }),
    partition(5, { liveness: 'stalled' }),
    partition(6, { cancelRequestedAt: at(90) }),
    ended(7, 20, { status: 'failed' }),
    ended(8, 20, { status: 'cancelled' }),
    ...Array.from({ length: 8 }, (_, index) => ended(9 + index, 200)),
  ]
  const parts = partsOf(jobs, now(100))
  const children = { total: 20, pending: 1, running: 5, stalled: 1, completed: 9, failed: 1, cancelled: 1 } as Children
  const byCondition = { failed: 1, stalled: 1, running: 2, pending: 1, completed: 9, cancelled: 1 }
  const marked = { attention: 4, not_advancing: 1, slow: 2, cancelling: 1 }
  t.same(countsOf(children, parts), { '': 20, ...byCondition, ...marked })
  t.equal(new Set(PART_CONDITIONS.flatMap(each => parts.filter(part => fits(part, each)))).size, parts.length)
  t.same(
    countsOf(children, []),
    { '': 20, ...byCondition, running: 4, attention: 0, not_advancing: 0, slow: 0, cancelling: 0 },
    'before they have been read, the batch says what it counts',
  )
  t.end()
})

t.test('a line reaches from the start of a partition to its end, with its wait before and its earlier attempts', t => {
  const jobs = [ended(0, 50), partition(1, { startedAt: at(60), attempt: 2 }), waiting(2)]
  const parts = partsOf(jobs, now(100))
  const span = timeSpanOf(parts, at(0), now(100))
  t.same(span, { fromMs: now(0), toMs: now(100) })
  const lane = (index: number, attempts = [] as { fromMs: number; toMs: number }[]) =>
    laneOf(parts[index]!, attempts, span, now(100))
  t.same(lane(0), { waiting: null, earlier: [], present: { from: 0, length: 0.5 } })
  t.same(lane(1, [{ fromMs: now(20), toMs: now(40) }]), {
    waiting: { from: 0, length: 0.2 },
    earlier: [{ from: 0.2, length: 0.2 }],
    present: { from: 0.6, length: 0.4 },
  })
  t.same(lane(2), { waiting: { from: 0, length: 1 }, earlier: [], present: null })
  const over = timeSpanOf(partsOf([ended(0, 50)], now(9_000)), at(0), now(9_000))
  t.same(over, { fromMs: now(0), toMs: now(50) }, 'a batch that has ended does not grow')
  t.same(timeSpanOf([], null, now(5)), { fromMs: now(5), toMs: now(6) }, 'an empty one has a length')
  const early = partsOf([partition(0, { startedAt: at(-30) })], now(100))
  t.equal(timeSpanOf(early, at(0), now(100)).fromMs, now(-30), 'clocks may differ')
  t.end()
})

t.test('earlier attempts are those that the history tells of, each from its start to its last end', t => {
  const event = (type: string, seconds: number, attempt: number) => ({ type, at: at(seconds), attempt }) as JobEvent
  const events = [
    event('started', 1, 1),
    event('failed', 5, 1),
    event('recovered', 6, 1),
    event('failed', 9, 1),
    event('cancelled', 11, 2),
    event('started', 12, 3),
    event('failed', 15, 3),
    event('started', 20, 4),
  ]
  t.same(attemptsBefore(4, events), [
    { fromMs: now(1), toMs: now(9) },
    { fromMs: now(12), toMs: now(15) },
  ])
  t.same(attemptsBefore(1, events), [])
  t.end()
})

t.test('of workers it is told who is silent, never advanced, does not advance, or is slow, the worst first', t => {
  const worker = (workerId: string, over: Partial<WorkerDocument> = {}): WorkerDocument =>
    ({
      workerId,
      attempt: 1,
      processedCount: 500,
      totalCount: 1_000,
      unit: null,
      progressPercent: null,
      throughputPerSecond: 100,
      advancedAt: at(100),
      heartbeatAt: at(100),
      createdAt: at(0),
      liveness: 'ok',
      ...over,
    }) as WorkerDocument
  const crew = (workers: WorkerDocument[], over: Partial<JobWithWorkers> = {}) =>
    crewOf({ ...partition(0), unit: 'rows', workers, ...over } as JobWithWorkers, now(100))
  const usual = ['a', 'b', 'c', 'd', 'e', 'f'].map(id => worker(id))
  const { members, counts, speeds } = crew([
    ...usual,
    worker('slow', { throughputPerSecond: 20 }),
    worker('stuck', { advancedAt: at(40) }),
    worker('idle', { advancedAt: null, processedCount: 0, throughputPerSecond: null }),
    worker('silent', { liveness: 'stalled' }),
    worker('patient', { heartbeatAt: at(40) }),
    worker('done', { processedCount: 1_000, heartbeatAt: at(10) }),
    worker('before', { attempt: 0, heartbeatAt: at(10) }),
  ])
  t.same(members.map(({ worker: { workerId }, state }) => (state === 'working' ? '' : workerId)).filter(Boolean), [
    'silent',
    'idle',
    'stuck',
    'slow',
    'done',
  ])
  t.same(counts, { silent: 1, idle: 1, stuck: 1, slow: 1, working: 7, done: 1 })
  t.match(speeds, { least: 20, median: 100, most: 100 })
  t.equal(crew(usual.slice(0, 3)).speeds, null)
  t.match(crew([]), { members: [], speeds: null })
  const alive = crew(['a', 'b'].map(id => worker(id, { advancedAt: null, processedCount: 0, totalCount: null })))
  t.equal(alive.counts.working, 2, 'of a crew that counts nothing, nobody is stuck')
  const bulk = crew([10, 30, 50, 20, 60, 40].map((seconds, n) => worker(`${n}`, { advancedAt: at(seconds) })))
  t.equal(bulk.counts.stuck, 0, 'where all report many items at once, a pause is usual')
  const careful = crew([worker('one', { processedCount: 2, createdAt: at(0), advancedAt: at(60) })])
  t.equal(careful.counts.stuck, 0, 'one item in 30 s: it has time for three')
  const two = [worker('one', { advancedAt: at(0) }), worker('other')]
  const pairOf = (revision: number) =>
    crew(two, { processedCount: 1_000, revision, startedAt: at(0), advancedAt: at(100) })
  t.equal(pairOf(3).counts.stuck, 0, 'of two that report in turn, every 50 s')
  t.equal(pairOf(101).counts.stuck, 1, 'of two, of which one reports every second')
  const failed = crew([worker('silent', { liveness: null })], { status: 'failed' })
  t.equal(failed.counts.done, 1, 'after its end nobody is silent')
  t.end()
})
