import t from 'tap'
import type { LiveJob } from '../../src/contract/live-job.ts'
import { ShownClock } from '../../src/browser-client/shown-clock.ts'
import {
  conditionOf,
  isAdvancing,
  needsAttention,
  notAdvancingMs,
  rangeLeft,
  secondsLeft,
} from '../../src/browser-client/condition.ts'
import { listActive, type ActiveStatus } from '../../src/dashboard/data/active-list.ts'
import { Curve } from '../../src/dashboard/data/curve.ts'
import { wantsAttention } from '../../src/dashboard/data/attention.ts'
import { Sorting } from '../../src/dashboard/data/sorting.ts'
import { mayDo } from '../../src/dashboard/session.ts'
import { countText, failureText, speedNowText, speedText } from '../../src/dashboard/views/figures.ts'
import { at, now, running } from './running-job.ts'

t.test('the condition of a job is its status, and for a running one its problem', async t => {
  const table: [name: string, over: Record<string, unknown>, seconds: number, condition: string][] = [
    ['it advances', {}, 61, 'running'],
    ['29 s are nothing', {}, 89, 'running'],
    ['for 30 s nothing has been done', {}, 90, 'not_advancing'],
    ['nobody reports: that says more', { liveness: 'stalled' }, 90, 'stalled'],
    ['it is to stop', { cancelRequestedAt: at(61) }, 62, 'cancelling'],
    ['it is to stop, and nothing is done', { cancelRequestedAt: at(61) }, 95, 'not_advancing'],
    ['pending', { status: 'pending', liveness: null, startedAt: null, advancedAt: null }, 900, 'pending'],
    ['completed', { status: 'completed', liveness: null }, 900, 'completed'],
    ['nothing was ever done', { advancedAt: null, processedCount: 0 }, 30, 'not_advancing'],
    ['it counts nothing', { advancedAt: null, processedCount: 0, totalCount: null }, 900, 'running'],
  ]
  for (const [name, over, seconds, condition] of table) {
    t.equal(conditionOf({ ...running, ...over }, now(seconds)), condition, name)
  }
})

t.test('jobs at risk, overdue jobs and unusual jobs each have a list, and the first two need attention', async t => {
  const job = (id: string, over: Partial<LiveJob>) =>
    ({ ...running, id, jobType: 'a', name: id, message: null, deadline: null, unusual: false, ...over }) as LiveJob
  const jobs = [
    job('in time', { deadline: 'on_time' }),
    job('at risk', { deadline: 'at_risk' }),
    job('overdue', { deadline: 'overdue', status: 'pending' }),
    job('unusual', { unusual: true }),
    job('ended late', { deadline: 'overdue', status: 'completed' }),
  ]
  const list = (status: ActiveStatus) => listActive(jobs, { jobType: '', status, text: '' }, new Map(), now(61))
  t.same(
    list('attention').rows.map(({ key }) => key),
    ['at risk', 'overdue'],
  )
  t.same(
    list('unusual').rows.map(({ key }) => key),
    ['unusual'],
    'it is no alarm',
  )
  for (const status of ['at_risk', 'overdue'] as const) {
    t.same(
      list(status).rows.map(({ key }) => key),
      [status.replace('_', ' ')],
    )
  }
  const counts = { all: 4, running: 3, pending: 1, attention: 2, at_risk: 1, overdue: 1, unusual: 1 }
  t.same(list('attention').counts, counts)
})

/** A batch of 200, of whose 42 running partitions some are silent. */
const batchWith = (over: Record<string, unknown>) => ({
  ...running,
  liveness: 'stalled' as const,
  children: {
    ...{ total: 200, pending: 55, running: 42, stalled: 1, completed: 100, failed: 3, cancelled: 0 },
    ...{ current: [], errors: [], failures: [] },
    ...over,
  },
})

t.test(
  'a batch counts as stalled once all of its running partitions are stalled, and keeps its numbers until then',
  async t => {
    const partly = batchWith({})
    t.equal(conditionOf(partly, now(61)), 'partly_stalled')
    t.ok(needsAttention('partly_stalled'), 'somebody should look all the same')
    t.ok(isAdvancing(partly, now(61)))
    t.equal(secondsLeft(partly, now(60)), 140)
    t.equal(speedNowText({ ...partly, throughputPerSecond: 293, unit: 'rows' }, now(61)), '293/s')
    t.equal(conditionOf(partly, now(90)), 'not_advancing', 'the others do nothing either')
    const all = batchWith({ stalled: 42 })
    t.equal(conditionOf(all, now(61)), 'stalled')
    t.equal(secondsLeft(all, now(60)), null)
    t.equal(conditionOf({ ...partly, liveness: 'ok' }, now(61)), 'running', 'they are back')
    t.equal(
      conditionOf(batchWith({ stalled: undefined }), now(61)),
      'stalled',
      'an earlier service does not count them',
    )
  },
)

t.test('a list shows the line that names the problem of an error, and no stack', async t => {
  const texts = [
    ['No more paper', 'No more paper'],
    ['Error: refused\n    at Socket.connect (/srv/a.js:1:2)\n    at b', 'Error: refused'],
    ['\r\n  Refused\r\n  by the server', 'Refused'],
    [
      'Traceback (most recent call last):\n  File "a.py", line 2, in <module>\nValueError: no number\n',
      'ValueError: no number',
    ],
    ['', ''],
  ] as const
  for (const [message, said] of texts)
    t.equal(failureText({ children: null, errorMessage: message, failureReason: 'worker' }), said)
  t.equal(failureText({ children: null, errorMessage: null, failureReason: null }), '')
  t.equal(
    failureText({ ...batchWith({}), errorMessage: null, failureReason: 'partitions' }),
    '3 of 200 partitions failed',
  )
  t.equal(
    failureText({ ...batchWith({ failed: 1, total: 1 }), errorMessage: 'x', failureReason: 'partitions' }),
    '1 of 1 partition failed',
  )
  const ended = { children: null, errorMessage: 'No heartbeat for 60 seconds', failureReason: 'stale' } as const
  t.equal(failureText(ended), 'Its workers were silent', 'by the code, where the service has ended it')
})

t.test('a job that advances rarely gets three of its usual steps before it counts as not advancing', async t => {
  // One item in ten minutes, the last one an hour after the start.
  const slow = { ...running, processedCount: 6, progressPercent: 6, advancedAt: at(3_600) }
  t.equal(notAdvancingMs(slow, now(3_600 + 1_799)), null)
  t.equal(notAdvancingMs(slow, now(3_600 + 1_800)), 1_800_000)
})

t.test('usual steps are counted by the items done, and not by the percent', t => {
  // Items of 45 s each, one of ten: three are due after 135 s.
  const first = { ...running, processedCount: 1, totalCount: 10, progressPercent: 10, advancedAt: at(45) }
  t.equal(notAdvancingMs(first, now(45 + 134)), null)
  t.equal(notAdvancingMs(first, now(45 + 135)), 135_000)
  const percentOnly = { ...running, processedCount: 0, totalCount: null, progressPercent: 2, advancedAt: at(200) }
  t.equal(notAdvancingMs(percentOnly, now(200 + 299)), null)
  t.equal(notAdvancingMs(percentOnly, now(200 + 300)), 300_000)
  t.end()
})

t.test('items that are reported together are one step', t => {
  // 500 every ten minutes, three times: made, and then a revision for each report.
  const bulk = { ...running, processedCount: 1500, totalCount: 5000, advancedAt: at(1_800), revision: 4 }
  t.equal(notAdvancingMs(bulk, now(1_800 + 1_799)), null)
  t.equal(notAdvancingMs(bulk, now(1_800 + 1_800)), 1_800_000)
  // With a message each second there are more revisions than items.
  const talkative = { ...running, processedCount: 6, advancedAt: at(3_600), revision: 3_600 }
  t.equal(notAdvancingMs(talkative, now(3_600 + 1_799)), null)
  t.equal(notAdvancingMs(talkative, now(3_600 + 1_800)), 1_800_000)
  t.end()
})

t.test('the time left counts down between two updates, not below 0, and only while the job advances', async t => {
  t.equal(secondsLeft(running, now(60)), 140)
  t.equal(secondsLeft(running, now(65.5)), 135)
  t.equal(secondsLeft({ ...running, etaSeconds: 3 }, now(80)), 0)
  t.equal(secondsLeft(running, now(50)), 140, 'a clock that is behind adds nothing')
  t.equal(secondsLeft({ ...running, etaSeconds: null }, now(60)), null)
  t.equal(secondsLeft({ ...running, liveness: 'stalled' } as never, now(61)), null)
  t.equal(secondsLeft(running, now(100)), null, 'it has not advanced for 40 s')
})

t.test('the range of the time left counts down with the time left, and is shown only with it', async t => {
  const job = { ...running, etaLowSeconds: 100, etaHighSeconds: 300 }
  t.match(rangeLeft(job, now(60)), { about: { value: 3, unit: 'minute' }, low: { value: 100 }, high: { value: 5 } })
  t.match(rangeLeft(job, now(80)), { about: { value: 2, unit: 'minute' }, low: { value: 80 }, high: { value: 5 } })
  t.match(rangeLeft(job, now(50)), rangeLeft(job, now(60)), 'a clock that is behind adds nothing')
  t.equal(rangeLeft({ ...job, etaLowSeconds: null }, now(60)), null)
  t.equal(rangeLeft({ ...job, etaSeconds: 3, etaLowSeconds: 1 }, now(80)), null, 'the estimated time is over')
  t.equal(rangeLeft({ ...job, liveness: 'stalled' } as never, now(61)), null)
  t.equal(rangeLeft(job, now(100)), null, 'it has not advanced for 40 s')
})

t.test('the time of the shown jobs stands still while the connection is lost', async t => {
  const clock = new ShownClock()
  t.equal(clock.read('connecting', 1), 1)
  t.equal(clock.lastMs, null)
  t.equal(clock.read('live', 2), 2)
  for (const state of ['reconnecting', 'unauthorized', 'connecting'] as const) t.equal(clock.read(state, 90), 2, state)
  t.equal(clock.read('polling', 91), 91)
})

t.test('a curve begins with the history and continues with the stream, with one point per moment', async t => {
  const curve = new Curve()
  const live = (seconds: number, progressPercent: number) =>
    curve.add({ ...running, updatedAt: at(seconds), progressPercent, throughputPerSecond: 1 })
  live(50, 25)
  const event = (type: string, seconds: number, data = {}) =>
    ({ id: '1', type, at: at(seconds), actor: null, attempt: 1, data }) as never
  curve.load([
    event('started', 0),
    event('progress', 20, { progressPercent: 10, processedCount: 10, throughputPerSecond: 0.5 }),
    event('progress', 40, { progressPercent: 20, processedCount: 20 }),
  ])
  live(50, 25)
  live(60, 30)
  t.same(
    curve.points.map(({ atMs, progressPercent }) => [(atMs - now(0)) / 1000, progressPercent]),
    [
      [0, 0],
      [20, 10],
      [40, 20],
      [50, 25],
      [60, 30],
    ],
  )
  for (let seconds = 61; seconds < 10_000; seconds += 1) live(seconds, 30)
  t.ok(curve.points.length <= 3_000, 'a day does not fill the memory')
  t.equal(curve.points.at(-1)?.atMs, now(9_999))
})

t.test('the first report of a job is a point of its curve', async t => {
  const curve = new Curve()
  curve.add({ ...running, updatedAt: at(0), throughputPerSecond: null })
  curve.load([{ id: '1', type: 'started', at: at(0), actor: null, attempt: 1, data: {} }])
  t.same(
    curve.points.map(({ progressPercent }) => progressPercent),
    [0, 30],
  )
})

t.test('a slow speed is shown per minute or per hour', async t => {
  for (const [perSecond, unit, expected] of [
    [null, 'rows', ''],
    [0, 'rows', '0/s'],
    [293.4, 'rows', '293/s'],
    [0.5, 'rows', '0.5/s'],
    [0.05, 'rows', '3/min'],
    [1 / 600, 'items', '6/h'],
    [1 / 86_400, 'items', '0.0417/h'],
    [4_100_000, 'bytes', '4.1 MB/s'],
    [0.02, 'bytes', '1 byte/min'],
  ] as const) {
    t.equal(speedText(perSecond, unit), expected)
  }
})

t.test('a sorted list keeps its order for five seconds, and jobs without a value come last', async t => {
  const job = (id: string, progressPercent: number, status = 'running') => ({ id, progressPercent, status }) as LiveJob
  const sorting = new Sorting()
  const order = (jobs: LiveJob[], seconds: number) => sorting.apply(jobs, 'done', now(seconds)).map(({ id }) => id)
  t.same(order([job('a', 10), job('p', 0, 'pending'), job('b', 50)], 0), ['b', 'a', 'p'])
  t.same(order([job('new', 99), job('a', 90), job('p', 0, 'pending'), job('b', 50)], 4.9), ['b', 'a', 'p', 'new'])
  t.same(order([job('new', 99), job('a', 90), job('p', 0, 'pending'), job('b', 50)], 5), ['new', 'a', 'b', 'p'])
  t.same(
    sorting.apply([job('a', 1), job('b', 2)], 'oldest', now(5)).map(({ id }) => id),
    ['b', 'a'],
    'another order is taken at once',
  )
})

t.test(
  'jobs in trouble come first on request: failed partitions, stalled, not advancing, late, slow, the newest first',
  t => {
    const job = (id: string, over: Partial<LiveJob> = {}) =>
      ({ ...running, id, deadline: null, unusual: false, ...over }) as LiveJob
    const batch = { total: 4, pending: 0, running: 3, stalled: 0, completed: 0, failed: 0, cancelled: 0 }
    const of = (counts: object) => ({ ...batch, ...counts }) as LiveJob['children']
    const jobs = [
      job('waits', { status: 'pending', liveness: null }),
      job('runs'),
      job('is to stop', { cancelRequestedAt: at(61) }),
      job('is slow', { unusual: true }),
      job('is late', { deadline: 'at_risk', unusual: true }),
      job('pauses', { advancedAt: at(0) }),
      job('has stalled partitions', { liveness: 'stalled', children: of({ stalled: 1 }) }),
      job('is stalled', { liveness: 'stalled' }),
      job('has failed partitions', { children: of({ failed: 1 }) }),
      job('runs as well'),
    ]
    const order = new Sorting().apply(jobs, 'trouble', now(61)).map(({ id }) => id)
    t.same(order, [
      'has failed partitions',
      'is stalled',
      'pauses',
      'has stalled partitions',
      'is late',
      'is slow',
      'is to stop',
      'runs',
      'runs as well',
      'waits',
    ])
    const wanting = jobs.filter(each => wantsAttention(each, now(61))).map(({ id }) => id)
    t.ok(
      Math.max(...wanting.map(id => order.indexOf(id))) < order.indexOf('is slow'),
      'what needs attention is among them',
    )
    t.end()
  },
)

t.test('the page offers only the actions that the token allows, and all actions where no token is needed', async t => {
  const token = (features: unknown) => `x.${Buffer.from(JSON.stringify({ features })).toString('base64url')}.x`
  t.equal(mayDo('cancel', null), true)
  t.equal(mayDo('cancel', token(['progress.view', 'progress.cancel'])), true)
  t.equal(mayDo('cancel', token('progress.view progress.cancel')), true)
  t.equal(mayDo('create', token(['progress.*'])), true)
  t.equal(mayDo('cancel', token(['progress.view'])), false)
  t.equal(mayDo('cancel', token(null)), false)
  t.equal(mayDo('cancel', 'no token'), false)
})

t.test('units are shown as words, and a custom unit as it is', t => {
  const of = (unit: string, totalCount = 2) => countText({ processedCount: 1, totalCount, unit })
  t.equal(of('iterations'), '1 of 2 iterations')
  t.equal(of('paths', 1), '1 of 1 path')
  t.equal(of('unknown'), '1 of 2')
  for (const unit of ['Gigapixels', 'toString', '{count}']) t.equal(of(unit), `1 of 2 \u2068${unit}\u2069`)
  t.end()
})
