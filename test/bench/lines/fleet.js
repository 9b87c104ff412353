// How many workers a machine takes, each with a connection of its own and one heartbeat in five seconds: more of them step by
// step, until one in a hundred reports takes 100 ms or longer. Workers, service and database share the machine.
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { cpuSecondsOf, residentBytes } from '../environment/processes.js'
import { startPostgres } from '../environment/postgres.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { percentileOfPairs } from '../load/histogram.js'
import { startLoad } from '../load/load.js'

const INTERVAL_MS = 5_000
const STEP = 10_000
/**
 * A young job costs more: with nearly each of its first reports it learns how fast it is, and each row is written to the log whole
 * at first. Workers of a fleet run for hours, so a step counts from their tenth report.
 */
const WARM_UP_MS = 10 * INTERVAL_MS
const LIMIT_MS = 100
/** As docs/operate/scale.md says for more running jobs than a fresh installation is meant for. */
const POSTGRES = { shared_buffers: '1GB', max_wal_size: '8GB' }
/** What a process opens beside its connections to workers: its program, the database, logs. */
const OTHER_FILES = 200
/** The connections that one source address can have to one port: the ephemeral ports of Linux. */
const PORTS = 28_000

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

/** How many files a process may open, whoever runs it (getrlimit(2)). */
const maxFiles = () =>
  Number(/Max open files\s+\d+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1024)

/** Workers on one process of the service: each is a connection, and so a file. */
const workersPerProcess = () => Math.min(maxFiles() - OTHER_FILES, PORTS)

/** Everything that the loopback interface has carried, in bytes: with the headers of TCP and IP, and each packet once. */
const loopbackBytes = () => Number(/lo:\s*(\d+)/.exec(readFileSync('/proc/net/dev', 'utf8'))?.[1] ?? 0)

/** Processes of the service as the workers need them, each with a process that makes its workers. */
class Fleet {
  pairs = []
  #postgres
  #databaseUrl
  #perProcess

  constructor(postgres, databaseUrl, perProcess) {
    this.#postgres = postgres
    this.#databaseUrl = databaseUrl
    this.#perProcess = perProcess
  }

  get workers() {
    return this.pairs.reduce((sum, pair) => sum + pair.workers, 0)
  }

  async #pairWithRoom() {
    const last = this.pairs.at(-1)
    if (last && last.workers < this.#perProcess) return last
    const service = await startService(this.#databaseUrl, { settings: { STALLED_AFTER_SECONDS: '30' } })
    const pair = { service, load: await startLoad(), workers: 0, source: `127.0.0.${this.pairs.length + 2}` }
    this.pairs.push(pair)
    return pair
  }

  /** Adds workers, each with a job of its own. */
  async add(count) {
    for (let added = 0; added < count;) {
      const pair = await this.#pairWithRoom()
      const more = Math.min(count - added, this.#perProcess - pair.workers)
      const { origin } = pair.service
      const jobIds = await createRunningJobs(this.#databaseUrl, origin, more)
      const options = { origin, source: pair.source, basePath: BASE_PATH, jobIds, intervalMs: INTERVAL_MS }
      await pair.load.call('openFleet', options)
      pair.workers += more
      added += more
    }
  }

  async #processes() {
    const database = [
      ...(await this.#postgres.backends(this.#databaseUrl)),
      ...(await this.#postgres.sharedProcesses()),
    ]
    return {
      service: this.pairs.map(({ service }) => service.pid),
      database,
      load: this.pairs.map(({ load }) => load.pid),
    }
  }

  async #cpu() {
    return Object.entries(await this.#processes()).map(([part, pids]) => [part, cpuSecondsOf(pids)])
  }

  /** What happens in the seconds that follow. */
  async measure(seconds) {
    await Promise.all(this.pairs.map(({ load }) => load.call('readFleet')))
    const [cpuBefore, bytesBefore, begun] = [new Map(await this.#cpu()), loopbackBytes(), performance.now()]
    await delay(seconds * 1000)
    const [cpuAfter, bytesAfter] = [await this.#cpu(), loopbackBytes()]
    const elapsed = (performance.now() - begun) / 1000
    const found = await Promise.all(this.pairs.map(({ load }) => load.call('readFleet')))
    const sum = key => found.reduce((all, each) => all + each[key], 0)
    const latency = found.flatMap(each => each.latency)
    const cores = cpuAfter.map(([part, after]) => {
      const used = [...after].map(([pid, value]) => (value - (cpuBefore.get(part).get(pid) ?? 0)) / elapsed)
      return [part, { all: used.reduce((all, each) => all + each, 0), most: Math.max(...used) }]
    })
    return {
      workers: this.workers,
      processes: this.pairs.length,
      perSecond: sum('answered') / elapsed,
      failed: sum('buffered') + sum('refused') + sum('lost') + sum('missed'),
      failures: { buffered: sum('buffered'), refused: sum('refused'), lost: sum('lost'), missed: sum('missed') },
      p50Ms: percentileOfPairs(latency, 0.5),
      p99Ms: percentileOfPairs(latency, 0.99),
      lagMs: percentileOfPairs(
        found.flatMap(each => each.lag),
        0.99,
      ),
      cores: Object.fromEntries(cores),
      residentMb: this.pairs.map(({ service }) => residentBytes(service.pid) / 1e6),
      bytesIn: sum('bytesOut') / Math.max(1, sum('answered')),
      bytesOut: sum('bytesIn') / Math.max(1, sum('answered')),
      megabits: ((bytesAfter - bytesBefore) * 8) / elapsed / 1e6,
    }
  }

  async stop() {
    for (const { load } of this.pairs) await load.stop()
    for (const { service } of this.pairs) await service.stop()
  }
}

const HEADER = [
  'workers',
  'processes of the service',
  'heartbeats/s',
  'p50',
  'p99',
  'cores: service',
  'database',
  'the workers themselves',
  'memory of the service',
  'on the wire',
]

/** Nothing was answered in a step whose latency is null. */
const ms = value => (value === null ? '—' : `${value.toFixed(1)} ms`)

const rowOf = step => [
  number.format(step.workers),
  String(step.processes),
  number.format(step.perSecond),
  ms(step.p50Ms),
  ms(step.p99Ms),
  ...['service', 'database', 'load'].map(part => step.cores[part].all.toFixed(2)),
  `${number.format(step.residentMb.reduce((sum, each) => sum + each, 0))} MB`,
  `${number.format(step.megabits)} Mbit/s`,
]

const isGood = ({ p99Ms, failed }) => failed === 0 && p99Ms !== null && p99Ms < LIMIT_MS

/** A core is never all used by one process: the kernel works for it, and takes it away now and then. */
const FULL = 0.9

/** What was in short supply when reports took too long. */
const limitOf = ({ cores, lagMs, failed, failures }) => {
  const used = Object.values(cores).reduce((sum, { all }) => sum + all, 0)
  const shares = `service ${cores.service.all.toFixed(2)}, database ${cores.database.all.toFixed(2)}, workers ${cores.load.all.toFixed(2)}`
  const what = failed > 0 ? `Reports failed (${JSON.stringify(failures)}). ` : ''
  if (used > FULL * availableParallelism())
    return `${what}The cores of the machine: ${used.toFixed(2)} of ${availableParallelism()} in use (${shares}).`
  if (lagMs > LIMIT_MS / 2)
    return `${what}The load generator, which sent one in a hundred reports ${ms(lagMs)} late (${shares}).`
  if (cores.service.most > FULL) return `${what}One process of the service, which used its core (${shares}).`
  return `${what}No core was in short supply (${shares}): the database's disk, or waits for locks.`
}

export const fleet = {
  name: 'fleet',
  title: 'how many workers, each on its own connection with a heartbeat every 5 s, are answered within 100 ms (p99)',
  async run({ seconds, log }) {
    const postgres = await startPostgres({ settings: POSTGRES })
    const machines = new Fleet(postgres, await postgres.createDatabase(), workersPerProcess())
    const steps = []
    try {
      do {
        await machines.add(STEP)
        await delay(WARM_UP_MS)
        const step = await machines.measure(Math.max(seconds, INTERVAL_MS / 1000))
        log(`  ${rowOf(step).join(', ')}; sent late by ${ms(step.lagMs)} (p99); failed: ${step.failed}`)
        steps.push(step)
      } while (isGood(steps.at(-1)))
    } finally {
      await machines.stop()
      await postgres.stop()
    }
    const best = steps.filter(isGood).at(-1) ?? null
    const limit = limitOf(steps.at(-1))
    const reached = best === null ? `fewer than ${number.format(STEP)}` : number.format(best.workers)
    const { bytesIn, bytesOut } = best ?? steps[0]
    return {
      sentence:
        `${reached} workers, p99 below ${LIMIT_MS} ms. What ended it: ${limit} ` +
        `A request had ${bytesIn.toFixed(0)} bytes and its answer ${bytesOut.toFixed(0)}, without the headers of TCP and IP.`,
      tables: [{ title: 'Workers with a heartbeat every 5 seconds', header: HEADER, rows: steps.map(rowOf) }],
    }
  },
}
