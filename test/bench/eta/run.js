// How good the ETA is: replays traces through headway.flush in a real Postgres, and asks three other estimators the same.
// `npm run bench:eta` replays the traces of traces.js, then the same with five earlier runs each. `-- 2` takes another seed for
// traces of the same kinds. `-- --traces FILE` adds those of a file that exports makeTraces(seed); a trace may bring its earlier
// runs itself (`former`). traces.js says what a trace is, measure.js what the figures mean, rivals.js who the others are.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, chmodSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { endOf, withFormer } from './former.js'
import { mean, measure } from './measure.js'
import { createAverage, createIndicatif, createTqdm } from './rivals.js'
import { makeTraces } from './traces.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const NAMES = ['headway', 'average', 'tqdm', 'indicatif']
/** Headway may be worse than the best of the others by this much on one kind of trace. */
const TOLERANCE = 1.2

const startServer = async () => {
  const { startEmbeddedPostgres } = await import('../../../dist/database/embedded/embedded.js')
  const directory = mkdtempSync(join(tmpdir(), 'headway-bench-'))
  // As root the server runs as another user, who must be able to reach its data.
  chmodSync(directory, 0o755)
  const postgres = await startEmbeddedPostgres({ dataDir: directory, settings: { fsync: 'off' }, log: console.error })
  const stop = async () => {
    await postgres.stop()
    rmSync(postgres.dataDir, { recursive: true, force: true })
    rmSync(directory, { recursive: true, force: true })
  }
  return { url: postgres.url, stop }
}

/** How often the truth lay in the range, and how wide the range was: its upper end divided by its lower one, as a logarithm. */
const coverageOf = ranges => ({
  inside: mean(ranges.map(({ low, high, remaining }) => (remaining >= low && remaining <= high ? 1 : 0))),
  width: mean(ranges.map(({ low, high }) => Math.log((high + 1) / (low + 1)))),
})

/** Seconds between two sweeps: the default of SWEEP_SCHEDULE, and twice that. */
const SWEEPS = [5, 10]

/**
 * Whether a job with a deadline at the median end of its earlier runs ended late, and when it was first at risk
 * (src/database/functions/deadlines.sql says when that is). Null without earlier runs.
 */
const alarmOf = (trace, measured, sweepSeconds) => {
  if (trace.former.length === 0) return null
  const ends = trace.former.map(endOf).sort((a, b) => a - b)
  const deadline = ends[Math.floor(ends.length / 2)]
  const first = trace.events.findLastIndex(({ type }) => type === 'start')
  const { at: begun } = trace.events[first]
  const reports = trace.events.slice(first).filter(({ type }) => type === 'report')
  const whole = reports[0].at - begun + reports[0].remaining
  let since = null
  for (let at = sweepSeconds; at < whole; at += sweepSeconds) {
    const report = reports.findLast(each => each.at - begun <= at)
    const low = report && (measured.get(report).low ?? measured.get(report).estimate)
    // Readers subtract the time since the report.
    const end = low === undefined || low === null ? null : Math.max(at, report.at - begun + low)
    if (end === null || end <= deadline) since = null
    else if (since === null) since = at
    else if (at - since >= (deadline - at) / 10) return { isLate: whole > deadline, warnedAt: at / whole }
  }
  return { isLate: whole > deadline, warnedAt: null }
}

/** The estimates of every estimator after every report that counts. All are shown in whole seconds, rounded up. */
const estimate = (trace, measured) => {
  const found = Object.fromEntries(NAMES.map(name => [name, []]))
  const ranges = []
  let rivals = {}
  let begun = 0
  let initial = 0
  let advanced = false
  let first = true
  for (const event of trace.events) {
    if (event.type === 'start') {
      begun = event.at
      initial = event.initial
      advanced = false
      first = true
      rivals = { average: createAverage(), tqdm: createTqdm(initial), indicatif: createIndicatif(initial) }
    }
    if (event.type !== 'report') continue
    const t = event.at - begun
    for (const rival of Object.values(rivals)) rival.observe(t, event.done)
    advanced ||= event.done > initial
    if (!advanced || event.remaining <= 0) continue
    const add = (name, seconds) =>
      found[name].push({ t, remaining: event.remaining, whole: t + event.remaining, estimate: seconds, first })
    const { estimate: ours, low, high } = measured.get(event)
    add('headway', ours)
    if (ours !== null) ranges.push({ ours, low: low ?? ours, high: high ?? ours, remaining: event.remaining })
    for (const [name, rival] of Object.entries(rivals)) {
      const rate = rival.rate(t)
      // Slower than that is no estimate to the service either; the limit keeps a vanishing rate finite.
      add(name, rate === null ? null : Math.ceil((trace.total - event.done) / Math.max(rate, 1e-9)))
    }
    first = false
  }
  return {
    results: NAMES.map(name => measure(found[name])),
    coverage: coverageOf(ranges),
    alarms: SWEEPS.map(seconds => alarmOf(trace, measured, seconds)),
  }
}

const percent = value => `${(100 * value).toFixed(1)} %`.padStart(8)
const print = (...cells) =>
  console.log(cells.map((cell, n) => (n === 0 ? cell.padEnd(24) : cell.padStart(10))).join(' '))

/** One line per kind, then the mean of the kinds: every kind counts the same. */
const printTable = (title, kinds, field) => {
  console.log(`\n${title}`)
  print('', ...NAMES, 'to best')
  const lines = [...kinds].map(([kind, results]) => [
    kind,
    NAMES.map((_, n) => mean(results.map(each => each[n][field]))),
  ])
  lines.push(['pooled', NAMES.map((_, n) => mean(lines.map(([, values]) => values[n])))])
  for (const [kind, values] of lines) {
    const best = Math.min(...values.slice(1))
    print(kind, ...values.map(percent), `${(values[0] / best).toFixed(2)} x`)
  }
  return lines
}

const printAlarms = alarms => {
  console.log('\nWith a deadline at the median end of the earlier runs:')
  for (const [n, seconds] of SWEEPS.entries()) {
    const found = alarms.map(each => each[n])
    const late = found.filter(({ isLate }) => isLate)
    const inTime = found.filter(({ isLate }) => !isLate)
    const warned = late.filter(({ warnedAt }) => warnedAt !== null && warnedAt < 0.9).length / late.length
    const wrongly = inTime.filter(({ warnedAt }) => warnedAt !== null).length / inTime.length
    console.log(
      `with a sweep every ${seconds} s, of ${late.length} that ended late ${percent(warned).trim()} were at risk before ` +
        `90 % of their time; of ${inTime.length} that ended in time ${percent(wrongly).trim()} were.`,
    )
  }
}

const verdictOf = lines => {
  const [, pooled] = lines.at(-1)
  const worse = lines.filter(([, [own, ...others]]) => own > TOLERANCE * Math.min(...others)).map(([kind]) => kind)
  const isBest = pooled.slice(1).every(other => pooled[0] < other)
  return `Pooled error ${isBest ? 'lower than' : 'NOT lower than'} that of each other; more than 20 % worse than the best on: ${worse.join(', ') || 'none'}.`
}

const build = () => {
  const { status } = spawnSync(process.execPath, [join(ROOT, 'scripts/build.js'), '--if-stale'], { stdio: 'inherit' })
  if (status !== 0) throw new Error('The build failed.')
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { traces: { type: 'string' } } })
const seed = Number(positionals[0] ?? 1)
const sets = [['the kinds of this bench', makeTraces(seed)]]
if (values.traces !== undefined) {
  const given = await import(pathToFileURL(resolve(values.traces)).href)
  sets.push([`the kinds of ${values.traces}`, given.makeTraces(seed)])
}
build()
const { replay } = await import('./replay.js')
const server = await startServer()
const verdicts = []

const show = async (title, traces) => {
  const begun = Date.now()
  const measured = await replay(server.url, traces)
  console.log(
    `\n== ${title}: ${traces.length} traces (seed ${seed}), ${measured.size} reports, replayed in ${((Date.now() - begun) / 1000).toFixed(1)} s.`,
  )
  const kinds = new Map()
  const coverage = new Map()
  const alarms = []
  for (const trace of traces) {
    const found = estimate(trace, measured)
    kinds.set(trace.kind, [...(kinds.get(trace.kind) ?? []), found.results])
    if (found.alarms[0] !== null) alarms.push(found.alarms)
    coverage.set(trace.kind, [...(coverage.get(trace.kind) ?? []), found.coverage])
  }
  const lines = printTable(
    'Error: |estimated - true| / max(true remaining time, 5 % of the whole), at most 100 %; no estimate is 100 %',
    kinds,
    'error',
  )
  printTable('Jump: how far the predicted end moves from report to report, in percent of the whole time', kinds, 'jump')
  printTable('Beside it: the error divided by the whole time', kinds, 'ofTotal')
  printTable('Beside it: the error as above, at most 300 %', kinds, 'mild')
  console.log('\nRange: how often the truth lay in it, and its upper end divided by its lower one')
  const covered = [...coverage].map(([kind, each]) => [
    kind,
    mean(each.map(({ inside }) => inside)),
    mean(each.map(({ width }) => width)),
  ])
  covered.push(['pooled', mean(covered.map(([, inside]) => inside)), mean(covered.map(([, , width]) => width))])
  for (const [kind, inside, width] of covered) print(kind, percent(inside), `${Math.exp(width).toFixed(1)} x`)
  if (alarms.length > 0) printAlarms(alarms)
  verdicts.push(`${title}: ${verdictOf(lines)} The truth lay in the range in ${percent(covered.at(-1)[1]).trim()}.`)
}

try {
  for (const [title, traces] of sets) {
    // Without the earlier runs that a trace may bring.
    await show(
      title,
      traces.map(trace => ({ ...trace, former: [] })),
    )
    await show(`${title}, with five earlier runs`, withFormer(traces, seed))
  }
  console.log(`\n${verdicts.join('\n')}`)
} finally {
  await server.stop()
}
