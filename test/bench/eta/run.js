// How good the ETA is: replays traces through headway.flush in a real Postgres, and asks three other estimators the same.
// `npm run bench:eta`, or with a seed for other traces of the same kinds: `npm run bench:eta -- 2`.
// traces.js says what is replayed, measure.js what the figures mean, rivals.js who the others are.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, chmodSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
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

/** The estimates of every estimator after every report that counts. All are shown in whole seconds, rounded up. */
const estimate = (trace, measured) => {
  const found = Object.fromEntries(NAMES.map(name => [name, []]))
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
    add('headway', measured.get(event))
    for (const [name, rival] of Object.entries(rivals)) {
      const rate = rival.rate(t)
      // Slower than that is no estimate to the service either; the limit keeps a vanishing rate finite.
      add(name, rate === null ? null : Math.ceil((trace.total - event.done) / Math.max(rate, 1e-9)))
    }
    first = false
  }
  return NAMES.map(name => measure(found[name]))
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

const seed = Number(process.argv[2] ?? 1)
build()
const traces = makeTraces(seed)
const { replay } = await import('./replay.js')
const server = await startServer()
try {
  const begun = Date.now()
  const measured = await replay(server.url, traces)
  console.log(
    `${traces.length} traces (seed ${seed}), ${measured.size} reports, replayed in ${((Date.now() - begun) / 1000).toFixed(1)} s.`,
  )
  const kinds = new Map()
  for (const trace of traces) kinds.set(trace.kind, [...(kinds.get(trace.kind) ?? []), estimate(trace, measured)])
  const lines = printTable(
    'Error: |estimated - true| / max(true remaining time, 5 % of the whole), at most 100 %; no estimate is 100 %',
    kinds,
    'error',
  )
  printTable('Jump: how far the predicted end moves from report to report, in percent of the whole time', kinds, 'jump')
  printTable('Beside it: the error divided by the whole time', kinds, 'ofTotal')
  printTable('Beside it: the error as above, at most 300 %', kinds, 'mild')
  console.log(`\n${verdictOf(lines)}`)
} finally {
  await server.stop()
}
