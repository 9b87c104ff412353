// How Headway does beside others, on this machine: `npm run bench`, or some lines of it by name (`npm run bench -- latency`).
// `-- list` names them. `--seconds 2 --rounds 1` is for trying out: only a full run is written to results.md.
import { parseArgs } from 'node:util'
import { describeMachine, describeVersions, busyPercent } from './environment/machine.js'
import { installPeers } from './environment/programs.js'
import { build } from './environment/build.js'
import { startPostgres } from './environment/postgres.js'
import { growth } from './lines/growth.js'
import { fleet } from './lines/fleet.js'
import { fanOut } from './lines/fan-out.js'
import { heartbeatsBulk } from './lines/heartbeats-bulk.js'
import { heartbeatsHttp } from './lines/heartbeats-http.js'
import { hop } from './lines/hop.js'
import { idleMemory } from './lines/idle-memory.js'
import { latency } from './lines/latency.js'
import { slowReaders } from './lines/slow-readers.js'
import { steady } from './lines/steady.js'
import { year } from './lines/year.js'
import { writePlot } from './report/plot.js'
import { printTable, table, writeResults } from './report/results.js'

const LINES = [heartbeatsHttp, heartbeatsBulk, fanOut, latency, hop, idleMemory, slowReaders]
/** Only by name: they take long. */
const STUDIES = [fleet, growth, steady, year]

/** Anything less says whether the benchmark works, not how fast the service is. */
const FULL = { rounds: 3, seconds: 10, minutes: 30, jobs: 10_000_000, load: 300 }

const readArguments = () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: String(FULL.rounds) },
      seconds: { type: 'string', default: String(FULL.seconds) },
      minutes: { type: 'string', default: String(FULL.minutes) },
      jobs: { type: 'string', default: String(FULL.jobs) },
      load: { type: 'string', default: String(FULL.load) },
      sample: { type: 'string', default: '10' },
    },
  })
  const numbers = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]))
  return { names: positionals, ...numbers }
}

const list = () => {
  for (const { name, title } of [...LINES, ...STUDIES]) console.log(`${name.padEnd(16)} ${title}`)
}

const choose = names => {
  const all = [...LINES, ...STUDIES]
  const unknown = names.filter(name => !all.some(line => line.name === name))
  if (unknown.length > 0)
    throw new Error(`There is no ${unknown.join(', ')}: \`npm run bench -- list\` says what there is.`)
  return names.length === 0 ? LINES : all.filter(line => names.includes(line.name))
}

const today = () => new Date().toISOString().slice(0, 10)

const runLine = async (line, context) => {
  const busyBefore = await busyPercent()
  console.log(`\n${line.name}: ${line.title} (cores ${busyBefore} % busy before)`)
  const rows = await line.run(context)
  printTable(rows)
  return { rows, date: today(), rounds: context.rounds, seconds: context.seconds, busyBefore }
}

const printSection = ({ sentence, tables }) => {
  console.log(`\n${sentence}`)
  for (const { title, header, rows } of tables) console.log(`\n${title}\n\n${table(header, rows)}`)
}

const runStudy = async (study, context) => {
  const busyBefore = await busyPercent()
  console.log(`\n${study.name}: ${study.title} (cores ${busyBefore} % busy before)`)
  const found = await study.run(context)
  if (found.sentence !== undefined) printSection(found)
  return { ...found, date: today(), busyBefore }
}

const main = async () => {
  const { names, ...numbers } = readArguments()
  if (names[0] === 'list') return list()
  const chosen = choose(names)
  build()
  if (chosen.some(line => line !== year)) installPeers()
  const isFull = Object.entries(FULL).every(([name, least]) => numbers[name] >= least)
  const postgres = await startPostgres()
  const context = {
    postgres,
    rounds: numbers.rounds,
    seconds: numbers.seconds,
    minutes: numbers.minutes,
    jobs: numbers.jobs,
    loadSeconds: numbers.load,
    /** Of so many jobs of the year one has the row of its worker and its history, which would take as much room as all jobs. */
    sample: numbers.sample,
    plot: isFull ? writePlot : () => undefined,
    warmupSeconds: Math.min(3, numbers.seconds),
    log: line => console.log(line),
  }
  const found = { machine: describeMachine(), versions: describeVersions(postgres.version), lines: {} }
  try {
    for (const chosenLine of chosen) {
      if (STUDIES.includes(chosenLine)) found[chosenLine.name] = await runStudy(chosenLine, context)
      else found.lines[chosenLine.name] = await runLine(chosenLine, context)
    }
  } finally {
    await postgres.stop()
  }
  if (isFull) writeResults(found)
  else console.log('Not a full run: results.md stays as it is.')
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

await main()
process.exit()
