import t from 'tap'
import { bar } from '../src/terminal/bar.ts'
import { factsOf, outcomeOf, plainLine, reasonOf, stateOf, type DrawnJob } from '../src/terminal/job.ts'
import { formatBytes, formatSeconds } from '../src/terminal/numbers.ts'
import { paint, piece } from '../src/terminal/paint.ts'
import { jsonLine, printable, shorten, widthOf } from '../src/terminal/text.ts'
import { jobPage } from '../src/terminal/job-page.ts'
import { startScreen } from '../src/terminal/screen.ts'
import { formatAge, formatTime } from '../src/terminal/times.ts'
import { startService } from './helpers/service.ts'

const HOSTILE = '\x1b[2J\x1b]0;owned\x07na\u202eme\r\n\x9b31m\u2028🦊'

/** Back to the beginning of the line, and clear it. */
const OVER_THE_LINE = '\r\x1b[2K'

t.test('bytes, times and counts have few digits and a unit', async t => {
  t.same([0, 999, 1000, 999_900, 5e9, 3e15].map(formatBytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '999.9 kB',
    '5.0 GB',
    '3000.0 TB',
  ])
  t.same([0, 0.2, 59.5, 61, 3600, 7384].map(formatSeconds), ['0 s', '1 s', '1 min', '1 min 1 s', '1 h', '2 h 3 min'])
  t.same(bar(0.5, 3, true), { done: '█▌', left: '░' })
  t.same(bar(2, 3, true), { done: '███', left: '' })
  t.same(bar(0, 3, false), { done: '', left: '...' })
})

const job: DrawnJob = {
  name: 'Importing products',
  status: 'running',
  progressPercent: 41,
  processedCount: 500,
  totalCount: 1200,
  unit: 'rows',
  throughputPerSecond: 293.8,
  etaSeconds: 3,
}

t.test('the line of a job fits into a terminal of 80 columns', async t => {
  t.equal(plainLine(job), 'Importing products [######..........]  41 % 500 of 1,200 rows, 294/s, 3 s left')
  t.equal(
    plainLine({
      ...job,
      etaSeconds: null,
      throughputPerSecond: 0.125,
      unit: 'unknown',
      message: 'Row 500 of the second file',
    }),
    'Importing products [######..........]  41 % 500 of 1,200, 0.13/s  Row 500 of t~',
  )
  t.match(plainLine({ ...job, deadline: 'at_risk' }), / % at risk, 500 of/)
  t.match(plainLine({ ...job, deadline: 'overdue', status: 'pending' }), / % pending, overdue, 500 of/)
  t.match(factsOf({ ...job, unusual: true, usualSeconds: 720 }), { 3: 'longer than usual (usually 12 min)' })
  t.match(plainLine({ ...job, liveness: 'stalled' }), / % stalled, 500 of/)
  t.match(plainLine({ ...job, cancelRequestedAt: 'now' }), / % cancelling, 500 of/)
  t.match(
    plainLine({ ...job, unit: 'Zeilen\n\u202e\x1b[2J' }),
    /500 of 1,200 Zeilen \[2J, /,
    'it does nothing to the terminal',
  )
  t.same(factsOf({ ...job, unit: 'bytes', etaSeconds: 90 }, 30_000), [
    '500 B of 1.2 kB',
    '293 B/s'.replace('293', '294'),
    '1 min left',
  ])
  t.same(factsOf({ ...job, processedCount: 0, totalCount: null, throughputPerSecond: null, etaSeconds: null }), [])
  const long = {
    ...job,
    name: '🦊'.repeat(300),
    message: '🦊'.repeat(300),
    processedCount: 2 ** 53 - 1,
    totalCount: 2 ** 53 - 1,
  }
  for (const each of [job, long, { ...long, status: 'failed' }]) t.ok(widthOf(plainLine(each)) <= 79)
  t.equal(
    outcomeOf({
      ...job,
      status: 'failed',
      errorMessage: 'Row 812',
      startedAt: '2026-01-01T00:00:00Z',
      finishedAt: '2026-01-01T00:01:05Z',
    }),
    'failed after 1 min 5 s: Row 812',
  )
  t.equal(outcomeOf({ ...job, status: 'failed', failureReason: 'stale' }), 'failed: its workers were silent')
})

t.test('control characters in texts of callers do not reach a terminal', async t => {
  t.equal(printable(HOSTILE), '[2J ]0;owned na me 31m 🦊')
  t.equal(printable('\ud800a\0b'), 'a b')
  t.equal(jsonLine({ name: HOSTILE }).match(/[\p{Cc}\p{Cf}\p{Zl}]/u), null)
  t.same(JSON.parse(jsonLine({ name: `${HOSTILE}\u{e0001}` })), { name: `${HOSTILE}\u{e0001}` })
  t.equal(shorten('🦊🦊🦊', 4), '🦊…')
  t.same(['导入数据', 'e\u0301t\u00e9', 'ab'].map(widthOf), [8, 3, 2])
  t.equal(shorten('数据/导入.csv', 8, { from: 'end' }), '…入.csv')
  t.equal(shorten('path/to/file', 5, { from: 'end' }), '…file')
  t.equal(paint([piece('数据'), piece('cd')], { columns: 3, colour: false }), '数c')
  t.equal(paint([piece('ab', 'red'), piece('cd')], { columns: 3, colour: true }), '\x1b[31mab\x1b[0mc')
})

const estimated = { ...job, etaSeconds: 720, etaLowSeconds: 540, etaHighSeconds: 1080, throughputPerSecond: null }

t.test('a view of one job shows the range of its time left, and a row of a list shows one number', async t => {
  const withRange = true
  t.equal(factsOf(estimated).at(-1), '12 min left')
  t.equal(factsOf(estimated, 0, { withRange }).at(-1), 'about 12 min (9 to 18) left')
  t.equal(factsOf(estimated, 240_000, { withRange }).at(-1), 'about 8 min (5 to 14) left', 'four minutes later')
  t.equal(factsOf({ ...estimated, liveness: 'stalled' }, 240_000, { withRange }).at(-1), 'about 12 min (9 to 18) left')
  t.equal(factsOf({ ...estimated, etaHighSeconds: 600 }, 0, { withRange }).at(-1), '12 min left', 'it is narrow')
  t.equal(factsOf({ ...estimated, etaLowSeconds: null }, 0, { withRange }).at(-1), '12 min left')
  t.same(factsOf({ ...estimated, status: 'completed' }, 0, { withRange }), ['500 of 1,200 rows'])
})

t.test('a plain line shows the range only if there is room for it', async t => {
  const withRange = true
  const line = plainLine({ ...estimated, name: 'Import', processedCount: 0, totalCount: null }, { withRange })
  t.equal(line, 'Import [######..........]  41 % about 12 min (9 to 18) left')
  t.equal(
    plainLine(estimated, { withRange }),
    'Importing products [######..........]  41 % 500 of 1,200 rows, 12 min left',
  )
})

t.test('the time left of a silent job does not count down', async t => {
  const stalled = { ...job, etaSeconds: 90, liveness: 'stalled' }
  t.match(factsOf(stalled, 60_000).at(-1), '1 min 30 s left')
  t.match(factsOf({ ...stalled, liveness: 'ok' }, 60_000).at(-1), '30 s left')
  t.match(factsOf({ ...stalled, liveness: 'ok' }, -3_600_000).at(-1), '1 min 30 s left', 'a clock that is behind')
})

const children = {
  total: 8,
  pending: 1,
  running: 7,
  stalled: 0,
  completed: 0,
  failed: 0,
  cancelled: 0,
  current: [],
  errors: [],
  failures: [],
}

t.test('a batch says how many of its partitions are done, which run, and what has failed', async t => {
  const batch = {
    ...job,
    children: {
      ...children,
      completed: 3,
      failed: 2,
      cancelled: 1,
      current: ['a', 'b\x1b[2J'],
      errors: ['c: no disk'],
    },
  }
  t.same(factsOf(batch).slice(0, 3), ['3 of 8 partitions', '2 failed', '1 cancelled'])
  t.match(
    plainLine({
      ...batch,
      name: 'x',
      totalCount: null,
      processedCount: 0,
      throughputPerSecond: null,
      etaSeconds: null,
    }),
    / {2}now a, b/,
  )
  t.equal(
    reasonOf({ ...batch, status: 'failed', errorMessage: '2 of 8 partitions failed' }),
    '2 of 8 partitions failed (c: no disk)',
  )
})

t.test('a batch with a silent partition keeps its state, speed and time left', async t => {
  const batch = { ...job, etaSeconds: 90, liveness: 'stalled', children: { ...children, stalled: 1, completed: 1 } }
  t.equal(stateOf(batch), 'running')
  t.same(factsOf(batch, 60_000).slice(0, 2), ['1 of 8 partitions', '1 stalled'])
  t.equal(factsOf(batch, 60_000).at(-1), '30 s left')
  const silent = { ...batch, children: { ...batch.children, stalled: 7 } }
  t.equal(stateOf(silent), 'stalled')
  t.equal(factsOf(silent, 60_000).at(-1), '1 min 30 s left')
})

t.test('a terminal that says 0 rows and columns is drawn on as one of 80 by 24', async t => {
  for (const size of [0, undefined]) {
    let text = ''
    const output = {
      isTTY: true,
      columns: size,
      rows: size,
      hasColors: () => false,
      write: (more: string) => (text += more),
    }
    const picture = { draw: ({ columns, rows }: { columns: number; rows: number }) => [`${columns} by ${rows}`] }
    const screen = startScreen({ ...picture, describe: () => new Map() }, output as unknown as NodeJS.WriteStream)
    screen.end()
    t.match(text, /80 by 24/)
  }
})

t.test('times have their zone', async t => {
  t.match(formatTime('2026-01-31T23:30:05.000Z'), /^2026-0[12]-\d\d \d\d:\d\d:05 [+-]\d\d:\d\d$/)
  t.same(Date.parse(formatTime('2026-01-31T23:30:05.000Z')), Date.parse('2026-01-31T23:30:05Z'))
  t.equal(formatAge('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:01:05Z')), '1 min 5 s ago')
  t.equal(formatAge('2026-01-01T00:00:00Z', Date.parse('2025-12-31T00:00:00Z')), 'now')
})

t.test('a stream of text draws one line over itself, and ends with the outcome', async t => {
  const service = await startService(t, { LIVE_INTERVAL_MS: '50' })
  const { id } = await service.createJob({ totalCount: 4, unit: 'rows', meta: { [HOSTILE]: HOSTILE } })
  // As it could be named once.
  await service.database.pool.query('UPDATE public.progress_jobs SET name = $2 WHERE id = $1', [id, HOSTILE])
  const response = await fetch(`${service.url}/api/progress/jobs/${id}/stream`, { headers: { accept: 'text/plain' } })
  t.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8')
  let text = ''
  let told = 0
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk
    // Each line that arrives is the cue for the next report.
    if (told++ === 0) await service.heartbeat(id, { processedCount: 2, message: `Row 2 ${HOSTILE}` })
    else if (told === 2) await service.call('POST', `/jobs/${id}/fail`, { errorMessage: `Row 3 ${HOSTILE}` })
  }
  const [before, ...lines] = text.split(OVER_THE_LINE)
  t.equal(before, '')
  t.match(lines[0], /^\[2J \]0;owned na me 31m ~ \[\.{16}\] {3}0 % pending, 0 of 4 rows$/)
  t.match(lines[1], /\[#{8}\.{8}\] {2}50 % 2 of 4 rows {2}Row 2/)
  t.match(lines.at(-1), / 50 % failed, 2 of 4 rows\nfailed after \d+ s: Row 3 .+\n$/)
  t.notMatch(lines.join('').replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u)

  const again = await fetch(`${service.url}/api/progress/jobs/${id}/stream`, { headers: { accept: 'text/plain' } })
  t.equal(await again.text(), `${OVER_THE_LINE}${lines.at(-1)}`, 'who comes late sees the end')
  const shown = { ...(await service.job(id)), errorStack: `${HOSTILE}\n  at ${HOSTILE}`, resultSummary: { a: HOSTILE } }
  const events = [
    { id: '1', type: 'failed', at: shown.createdAt, actor: HOSTILE, attempt: 2, data: { stage: HOSTILE } },
  ]
  const page = jobPage({ job: shown, events, nowMs: 0, colour: false } as unknown as Parameters<typeof jobPage>[0])
  t.match(page.join('\n'), /Workers[^]*Row 2[^]*Result[^]*Meta[^]*History/)
  t.notMatch(page.join(''), /[\p{Cc}\p{Cf}]/u, 'nor does the page of a job do anything to a terminal')

  const many = await fetch(`${service.url}/api/progress/stream`, { headers: { accept: 'text/plain' } })
  t.match(await many.json(), { status: 406, code: 'not_acceptable' })
})
