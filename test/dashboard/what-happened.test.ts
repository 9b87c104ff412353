import fc from 'fast-check'
import t from 'tap'
import { roughText } from '../../src/contract/time-left.ts'
import type { JobEvent, ListedJob } from '../../src/contract/job.ts'
import type { TypeStatistics } from '../../src/contract/statistics.ts'
import { doForEach } from '../../src/dashboard/data/bulk.ts'
import { bandOf, changeOf, quantile, slowerFirst } from '../../src/dashboard/data/durations.ts'
import { groupFailures, kindOfMessage, searchTextOf } from '../../src/dashboard/data/failure-groups.ts'
import { Heartbeats, isOnlyAlive } from '../../src/dashboard/data/heartbeats.ts'
import { historyQuery, instantOf, soughtId } from '../../src/dashboard/data/history-query.ts'
import { AWAY_MS, LONGEST_MS, look, looksOf, seen, textOf } from '../../src/dashboard/data/last-look.ts'
import { runDots } from '../../src/dashboard/data/run-dots.ts'
import { stageSeconds } from '../../src/dashboard/data/stage-times.ts'
import { shellWord, stepsDone, tourCode } from '../../src/dashboard/data/tour.ts'
import { ageAndOwner, agoText, likelyEndMs, silenceText } from '../../src/dashboard/views/times.ts'
import { leftTitle, usualText } from '../../src/dashboard/views/figures.ts'
import { at, now, running } from './running-job.ts'

t.test('messages that differ only in numbers, ids, times and quoted parts are of one kind', t => {
  for (const [one, other] of [
    ['Row 7316 is malformed', 'Row 12 is malformed'],
    ["Cannot open 'a b.csv'", "Cannot open 'c.csv'"],
    ['Timeout after 3.5 s at 10.0.0.1:5432', 'Timeout after 30 s at 192.168.7.20:5432'],
    ['User “Ann” is unknown', 'User “Bob O’Neill” is unknown'],
    ['No job ba6efd8f-274d-4689-87af-3c001917db06', 'No job deadbeef-abcd-abcd-abcd-abcdefabcdef'],
    ['Since 2026-01-31T12:00:00.000Z nothing', 'Since 2025-12-01T00:00:00Z nothing'],
    ['Part i-0af3b is gone', 'Part i-7c is gone'],
    ['„Übung“ fehlt', '„Datei 7“ fehlt'],
  ] as const) {
    t.equal(kindOfMessage(one), kindOfMessage(other), one)
  }
  for (const [one, other] of [
    ['Row 1 is malformed', 'Row 1 is missing'],
    ["It can't be read and won't be", "It can't be read or won't be"],
    ['42', '43'],
    ['', 'x'],
  ] as const) {
    t.not(kindOfMessage(one), kindOfMessage(other), one)
  }
  t.end()
})

const word: fc.Arbitrary<string> = fc.constantFrom(
  'Row',
  'is',
  'malformed',
  'Übung',
  'مرحبا',
  '日本',
  'can’t',
  'the',
  'CRM',
  '🚀',
)
const part = fc.oneof(
  fc.integer({ min: -1_000_000, max: 1_000_000 }).map(String),
  fc.uuid(),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: 0, max: 1e6 }).map(value => value.toFixed(3)),
  fc.constantFrom('"a b"', '«x y»', '`z`', "'q'", '“w”'),
)

t.test('whatever stands in place of its numbers, ids and quotes, a message keeps its kind', t => {
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 0, max: 6 }),
      part,
      part,
      (words, place, one, other) => {
        const message = (value: string) => words.toSpliced(Math.min(place, words.length), 0, value).join(' ')
        const kind = kindOfMessage(message(one))
        return (
          kind === kindOfMessage(message(other)) &&
          kindOfMessage(kind) === kind &&
          message(one).includes(searchTextOf(kind, message(one))) &&
          searchTextOf(kind, message(one)) !== ''
        )
      },
    ),
  )
  t.end()
})

t.test('no message is too long or too odd to have a kind', t => {
  fc.assert(
    fc.property(fc.string({ maxLength: 2_000, unit: 'grapheme' }), message => kindOfMessage(message).length <= 2_000),
  )
  // Patterns that ran away would never come to the end.
  for (const odd of ['"'.repeat(10_000), '1-'.repeat(10_000), "'a".repeat(10_000), '…'.repeat(10_000)])
    kindOfMessage(odd)
  t.end()
})

const failed = (name: string, errorMessage: string, seconds: number, jobType = 'import') =>
  ({
    id: name,
    name,
    jobType,
    errorMessage,
    failureReason: 'worker',
    finishedAt: at(seconds),
    updatedAt: at(seconds),
  }) as ListedJob

t.test('failures are grouped by kind, with the number, the first and the last time, and the types', t => {
  const line = ({ errorMessage, failureReason }: ListedJob) => ({
    line: failureReason === 'stale' ? 'Silent' : (errorMessage ?? ''),
    isOwn: failureReason === 'stale',
  })
  const jobs = [
    failed('a', 'Row 1 is malformed', 10),
    failed('b', 'Disk full', 40),
    failed('c', 'Row 22 is malformed', 30, 'export'),
    failed('d', 'Row 3 is malformed', 20),
    { ...failed('e', 'Silent', 5), failureReason: 'stale' } as ListedJob,
    failed('f', 'Silent', 6),
  ]
  const groups = groupFailures(jobs, line)
  t.match(
    groups.map(({ said, jobs: found, firstAt, lastAt, types }) => [
      said,
      found.map(({ id }) => id).join(''),
      firstAt,
      lastAt,
      types.join(),
    ]),
    [
      ['Row … is malformed', 'cda', at(10), at(30), 'export,import'],
      ['Disk full', 'b', at(40), at(40), 'import'],
      ['Silent', 'f', at(6), at(6), 'import'],
      ['Silent', 'e', at(5), at(5), 'import'],
    ],
  )
  t.same(
    groups.map(({ search }) => search),
    ['is malformed', 'Disk full', 'Silent', ''],
    'reasons that the service gives are no text of the errors',
  )
  t.equal(new Set(groups.map(({ key }) => key)).size, groups.length)
  t.same(groupFailures([], line), [])
  t.equal(searchTextOf('aa b …', 'aa  b 1'), 'aa', 'a text that the error has as it stands')
  t.end()
})

t.test('an absence of five minutes is told until it is marked as seen, and a shorter one is not', t => {
  const first = look(null, now(0))
  t.same(first, { lastMs: now(0), sinceMs: null })
  t.same(look(first, now(0) + AWAY_MS - 1).sinceMs, null)
  const back = look(first, now(0) + AWAY_MS)
  t.equal(back.sinceMs, now(0))
  const later = look(look(back, now(0) + AWAY_MS + 1), now(0) + 10 * AWAY_MS)
  t.equal(later.sinceMs, now(0), 'a reload or a second absence forgets nothing')
  t.same(look(seen(now(900)), now(901)), { lastMs: now(901), sinceMs: null })
  t.equal(look({ lastMs: now(900), sinceMs: null }, now(0)).sinceMs, null, 'a clock that was set back is no absence')
  t.equal(look({ lastMs: now(900), sinceMs: now(800) }, now(0)).sinceMs, null)
  const long = look({ lastMs: 0, sinceMs: null }, now(0))
  t.equal(long.sinceMs, now(0) - LONGEST_MS, 'no more than a month is told')
  t.equal(look(long, now(10)).sinceMs, long.sinceMs, 'and its beginning does not move with each look')
  t.same(looksOf(textOf(back)), back)
  for (const stored of [null, '', '1', '[]', '{"lastMs":"x"}', '{', 'null'])
    t.equal(looksOf(stored), null, String(stored))
  t.end()
})

t.test('the filters of the history in an address are what the service is asked for', t => {
  const of = (address: string) => historyQuery(new URLSearchParams(address), now(0))
  const always = { topLevel: true, sort: '-finishedAt', status: ['completed', 'failed', 'cancelled'] }
  t.same(of(''), always)
  t.same(of('status=toString&span=constructor&from=never'), always, 'what is no filter filters nothing')
  t.same(of('span=hour'), { ...always, completedSince: at(-3_600) })
  t.same(of(`span=hour&from=${at(-60)}&to=${at(0)}`), { ...always, completedSince: at(-60), completedBefore: at(0) })
  t.same(of('status=failed&by=auth0%7C7&error=disk%20full&type=import&q=night'), {
    ...{
      ...always,
      status: ['failed'],
      startedByUserId: 'auth0|7',
      error: 'disk full',
      jobType: 'import',
      search: 'night',
    },
  })
  t.same(of('status=active&span=hour&error=x'), { topLevel: true, sort: '-createdAt', status: ['running', 'pending'] })
  t.equal(of(`error=${'x'.repeat(300)}`).error?.length, 200)
  for (const text of [null, '', 'x', '-000001-01-01T00:00:00Z', '+275000-01-01T00:00:00Z'])
    t.equal(instantOf(text), null, String(text))
  t.equal(
    soughtId(new URLSearchParams('q= BA6EFD8F-274d-4689-87af-3c001917db06 ')),
    'ba6efd8f-274d-4689-87af-3c001917db06',
  )
  t.equal(soughtId(new URLSearchParams('q=ba6efd8f')), null)
  t.end()
})

t.test('an action on several jobs goes on after a failure, four at a time, and tells what did not work', async t => {
  let atOnce = 0
  let most = 0
  const told: number[] = []
  const items = Array.from({ length: 10 }, (_, index) => index)
  const failures = await doForEach(
    items,
    async item => {
      atOnce += 1
      most = Math.max(most, atOnce)
      await new Promise(resolve => setImmediate(resolve))
      atOnce -= 1
      if (item % 4 === 0) throw new Error(String(item))
    },
    { problemOf: error => ({ status: 0, code: 'x', detail: (error as Error).message }), told: over => told.push(over) },
  )
  t.same(
    failures.map(({ item, problem }) => [item, problem.detail]),
    [
      [0, '0'],
      [4, '4'],
      [8, '8'],
    ],
  )
  t.equal(most, 4)
  t.same(told, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  const none = { problemOf: () => ({ status: 0, code: '', detail: '' }), told: () => undefined }
  t.same(await doForEach([], () => Promise.reject(new Error()), none), [])
})

t.test('a time that has passed is told in one unit, rounded down', t => {
  for (const [seconds, expected] of [
    [0, '0 s'],
    [-5, '0 s'],
    [119.9, '119 s'],
    [120, '2 min'],
    [34 * 60 + 59, '34 min'],
    [119 * 60 + 59, '119 min'],
    [7_200, '2 h'],
    [9_000, '2.5 h'],
    [21 * 3_600 + 3_599, '21 h'],
    [49 * 3_600, '2 days'],
  ] as const) {
    t.equal(roughText(seconds, 'en'), expected)
  }
  t.equal(roughText(20.2 * 3_600, 'en', Math.ceil), '21 h')
  t.equal(roughText(86_400 * 3, 'de'), '3 Tage')
  t.equal(agoText(at(0), now(34 * 60 + 1)), '34 min ago')
  t.equal(agoText(at(0), now(-9)), 'just now')
  t.equal(agoText(null, now(0)), '')
  t.end()
})

const job = {
  ...running,
  etaSeconds: 720,
  etaLowSeconds: 540,
  etaHighSeconds: 1_080,
  heartbeatAt: at(60),
  heartbeatTimeoutSeconds: 86_400,
  pendingTimeoutSeconds: null,
  startedByUserId: null,
  usualSeconds: 700,
  unusual: false,
}

t.test('the time left is told with its range and the time at which it will be over', t => {
  t.equal(likelyEndMs(job, now(60)), now(780))
  t.match(leftTitle(job, now(60)), /^about 12 min \(9 to 18\), \w+day, January 31, 2026 at .*\d/)
  t.equal(likelyEndMs({ ...job, etaSeconds: null }, now(60)), null)
  t.equal(likelyEndMs(job, now(2_000)), null, 'an estimate that is over tells no time')
  t.end()
})

t.test('of a silent job is told for how long, and when it will be ended', t => {
  const silent = { ...job, liveness: 'stalled' as const }
  t.equal(silenceText(job, now(240)), '')
  t.equal(silenceText(silent, now(60 + 3 * 3_600)), 'silent for 3 h, will be ended in 21 h')
  t.equal(silenceText(silent, now(60 + 90_000)), 'silent for 25 h, will be ended at any moment')
  t.equal(silenceText({ ...silent, heartbeatTimeoutSeconds: 0 }, now(360)), 'silent for 5 min')
  t.equal(silenceText({ ...silent, children: {} as never }, now(360)), '', 'no batch is ended for silence')
  const pending = { ...job, status: 'pending' as const, liveness: null, heartbeatAt: null, updatedAt: at(0) }
  t.equal(silenceText(pending, now(60)), '')
  t.equal(silenceText({ ...pending, pendingTimeoutSeconds: 600 }, now(60)), 'will be ended in 9 min')
  t.same(ageAndOwner({ ...job, startedByUserId: 'auth0|7' }, now(2_040)), ['for 34 min', 'by \u2068auth0|7\u2069'])
  t.same(ageAndOwner(pending, now(60)), ['', ''])
  t.equal(usualText(job), 'usually 12 min')
  t.equal(usualText({ ...job, unusual: true }), 'longer than usual (usually 12 min)')
  t.equal(usualText({ ...job, usualSeconds: null }), '')
  t.end()
})

const event = (type: string, seconds: number, data = {}) =>
  ({ id: '1', type, at: at(seconds), actor: null, attempt: 1, data }) as JobEvent

t.test('a stage took as long as the job was in it, in the last attempt', t => {
  const events = [
    event('started', 0),
    event('stage_changed', 0, { stage: 'a' }),
    event('failed', 50),
    event('retried', 60),
    event('stage_changed', 100, { stage: 'a' }),
    event('stage_changed', 110, { stage: 'b' }),
    event('stage_changed', 140, { stage: 'a' }),
    event('stage_changed', 145, { stage: 'c' }),
  ]
  t.same(
    [...stageSeconds(events, now(150))],
    [
      ['a', 15],
      ['b', 30],
      ['c', 5],
    ],
  )
  t.same([...stageSeconds([...events, event('completed', 147)], now(999))].at(-1), ['c', 2])
  t.same([...stageSeconds([], now(0))], [])
  t.end()
})

const typed = (jobType: string, p50: number | null, completed: number) =>
  ({ jobType, completed, durationSeconds: { p50, p95: p50, max: p50 } }) as TypeStatistics

t.test('a type got slower if the median of enough jobs has grown by a fifth', t => {
  t.match(changeOf(typed('a', 120, 5), typed('a', 100, 5)), { isSlower: true })
  t.match(changeOf(typed('a', 119, 5), typed('a', 100, 5)), { isSlower: false })
  t.equal(changeOf(typed('a', 900, 4), typed('a', 100, 5)), null, 'one slow job of few is no news')
  t.equal(changeOf(typed('a', 900, 5), undefined), null)
  t.equal(changeOf(typed('a', null, 0), typed('a', 100, 5)), null)
  t.equal(changeOf(typed('a', 9, 5), typed('a', 0, 5)), null)
  t.match(changeOf(typed('a', 0.02, 5), typed('a', 0.01, 5)), { isSlower: false }, 'neither are milliseconds')
  const entry = (jobType: string, jobs: number, share: number | null) => ({
    jobType,
    jobs,
    change: share === null ? null : { share, isSlower: share >= 0.2 },
  })
  const sorted = slowerFirst([
    entry('many', 90, 0.1),
    entry('slow', 1, 0.3),
    entry('few', 2, null),
    entry('slower', 1, 2),
    entry('b', 2, -1),
  ])
  t.same(
    sorted.map(({ jobType }) => jobType),
    ['slower', 'slow', 'many', 'b', 'few'],
  )
  t.end()
})

t.test('quantiles lie between the least and the most, and the band holds the median', t => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { minLength: 1 }), values => {
      const band = bandOf(values)
      return (
        band !== null &&
        Math.min(...values) <= band.low &&
        band.low <= band.median &&
        band.median <= band.high &&
        band.high <= Math.max(...values) * (1 + 1e-12)
      )
    }),
  )
  t.equal(bandOf([]), null)
  t.equal(quantile([1, 2], 0.5), 1.5)
  t.end()
})

t.test('the dots of a type lie by end and duration, and only completed runs make its band', t => {
  const run = (id: string, status: string, start: number | null, end: number) =>
    ({ id, status, startedAt: start === null ? null : at(start), finishedAt: at(end) }) as ListedJob
  const { dots, ...rest } = runDots(
    [
      run('c', 'failed', 100, 200),
      run('a', 'completed', 0, 50),
      run('b', 'completed', 90, 100),
      run('n', 'cancelled', null, 300),
    ],
    seconds => seconds,
  )
  t.same(
    dots.map(dot => [dot.job.id, dot.x, dot.y]),
    [
      ['a', 0, 0.5],
      ['b', 1 / 3, 0.1],
      ['c', 1, 1],
    ],
  )
  t.same(rest, { mostSeconds: 100, band: { low: 20, median: 30, high: 40 }, completed: 2, failed: 1, cancelled: 1 })
  t.match(runDots([run('x', 'failed', 5, 5)], () => 0).dots, [{ x: 0.5, y: 0 }])
  t.same(runDots([], () => 1).dots, [])
  t.end()
})

t.test('the heartbeats of a job that is only alive are those of its history and those that were seen', t => {
  const beats = new Heartbeats()
  beats.add(at(30))
  beats.load([
    event('created', 0),
    event('started', 1),
    event('failed', 2),
    event('retried', 3),
    event('started', 10),
    event('progress', 20),
  ])
  beats.add(at(40))
  beats.add(at(40))
  beats.add(null)
  t.same(
    beats.times.map(ms => (ms - now(0)) / 1000),
    [10, 20, 30, 40],
  )
  for (let second = 0; second < 2_000; second += 1) beats.add(at(100 + second))
  t.equal(beats.times.length, 600, 'a day does not fill the memory')
  const alive = { ...job, totalCount: null, processedCount: 0, progressPercent: 0, stages: null }
  t.ok(isOnlyAlive(alive, []))
  const completed = { ...alive, status: 'completed', progressPercent: 100 }
  const curve = (...percents: number[]) => percents.map(progressPercent => ({ progressPercent, processedCount: 0 }))
  t.ok(isOnlyAlive(completed, curve(0, 100)))
  t.notOk(isOnlyAlive(completed, curve(0, 50, 100)), 'it had a percent')
  t.notOk(isOnlyAlive(completed, []), 'its curve has not been read')
  for (const over of [
    { totalCount: 9 },
    { processedCount: 1 },
    { progressPercent: 5 },
    { stages: [] },
    { children: {} },
    { heartbeatAt: null },
  ]) {
    t.notOk(isOnlyAlive({ ...alive, ...over }, []), JSON.stringify(over))
  }
  t.end()
})

t.test('the tour has the address, the token and the job filled in, as one word each', t => {
  const odd = `it's "$(x)" \\`
  t.equal(shellWord("it's"), `'it'\\''s'`)
  const curl = tourCode('curl', { url: 'https://host/a/', token: 'a.b.c', jobId: null })
  t.equal(
    curl[0],
    `curl 'https://host/a/api/progress/jobs' \\\n  -H 'Authorization: Bearer a.b.c' \\\n  --json '{"jobType":"tour","name":"My first job","totalCount":100}'`,
  )
  t.match(curl[1], '/jobs/JOB_ID/heartbeat')
  t.match(
    tourCode('curl', { url: 'http://h', token: null, jobId: 'x1' })[2],
    /^curl 'http:\/\/h\/api\/progress\/jobs\/x1\/complete' \\\n {2}--json/,
  )
  t.match(tourCode('command', { url: 'http://h/', token: odd, jobId: null })[0], `HEADWAY_TOKEN=${shellWord(odd)}\n`)
  for (const way of ['node', 'python'] as const) {
    t.match(tourCode(way, { url: 'http://h/', token: odd, jobId: null })[0], JSON.stringify(odd), way)
    t.match(tourCode(way, { url: 'http://h/', token: null, jobId: null })[0], '"http://h"', way)
  }
  const made = { status: 'pending', processedCount: 0, progressPercent: 0, message: null }
  t.same([...stepsDone(null)], [])
  t.same([...stepsDone(made)], ['create'])
  t.same([...stepsDone({ ...made, status: 'running', processedCount: 40 })], ['create', 'report'])
  t.same([...stepsDone({ ...made, status: 'completed' })], ['create', 'report', 'complete'])
  t.end()
})
