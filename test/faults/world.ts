import type { Test } from 'tap'
import { preload, spawnService, type ServiceProcess } from '../helpers/process.ts'
import { scrape } from '../helpers/prometheus.ts'
import { openStream, type LiveJob, type StreamReader } from '../helpers/stream.ts'
import { call, createJobs, query, readCounts, until } from './calls.ts'
import { measure, poolBusy, poolConnections, type Footprint } from './footprint.ts'
import { Load } from './load.ts'

/** Of silence, after which a job is taken for dead. */
const TIMEOUT_SECONDS = 5
/** Longer than it by more than a sweep. */
const LONG_MS = 6_500
const JOBS = 20
const WARM_ANSWERS = 150
/** How much more a replica may hold than before its first fault: code that was not compiled until then. Seen were 2 MB. */
const GROWTH_BYTES = 5 * 1024 * 1024

const SETTINGS = { LOG_LEVEL: 'info', SWEEP_SCHEDULE: '* * * * * *', LIVE_INTERVAL_MS: '100' }

export type Settings = Record<string, string>

interface DatabaseState {
  /** Sessions of the service, those that wait for a lock or sit in a transaction, and the verdicts that no job deserved. */
  sessions: number
  stuck: number
  verdicts: number
}

const READ_STATE = `SELECT count(*)::integer AS sessions,
    (count(*) FILTER (WHERE wait_event_type = 'Lock' OR state ~ '^idle in transaction'))::integer AS stuck,
    (SELECT count(*)::integer FROM public.job_events WHERE job_id = ANY($1) AND type IN ('failed', 'cancelled')) AS verdicts
  FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'headway'`

/** One fault: jobs of its own, and workers that report for them through all replicas that live. */
export interface Scene {
  jobIds: string[]
  load: Load
}

/** Side effects of the fault that the checks must allow. */
interface Allowed {
  /** The codes with which reports were refused. Default: none was. */
  refusals?: string[]
  /** A replica ended, or a connection with a statement under way: reports that were answered 202 may be lost. */
  lostBuffers?: boolean
}

/** Two replicas behind one database, and a reader of all that each of them streams. */
export class World {
  readonly replicas: ServiceProcess[]
  readonly #databaseUrl: () => string
  readonly #spawn: (settings: Settings) => ServiceProcess
  readonly #streams: StreamReader[]
  readonly #first = new Map<ServiceProcess, Footprint>()

  constructor(
    t: Test,
    replicas: ServiceProcess[],
    databaseUrl: () => string,
    spawn: (settings: Settings) => ServiceProcess,
  ) {
    this.replicas = replicas
    this.#databaseUrl = databaseUrl
    this.#spawn = spawn
    this.#streams = replicas.map((_, index) => openStream(t, () => this.replicas[index]!.url))
  }

  get alive(): ServiceProcess[] {
    return this.replicas.filter(({ child }) => child.exitCode === null && child.signalCode === null)
  }

  get streams(): readonly StreamReader[] {
    return this.#streams
  }

  /** Starts another replica; `replicas` has it when it has been put there. */
  spawn(settings: Settings = {}): ServiceProcess {
    return this.#spawn(settings)
  }

  /** Begins with all replicas ready and warm, their first footprint known, and a load that goes on until `assertWell`. */
  async begin(t: Test): Promise<Scene> {
    const jobIds = await createJobs(this.replicas[0]!.url, JOBS, TIMEOUT_SECONDS)
    // Half of the jobs stay with a replica, as workers do that keep their connection. The others go from one to the next.
    const load = new Load(jobIds, turn => {
      const round = turn % JOBS < JOBS / 2 ? 0 : Math.floor(turn / JOBS)
      return this.alive[(turn + round) % this.alive.length]!.url
    })
    t.teardown(() => load.end())
    load.start()
    await until(
      () => load.answers > WARM_ANSWERS && this.#streams.every(({ jobs }) => jobIds.every(id => jobs.has(id))),
    )
    if (this.replicas.some(replica => !this.#first.has(replica))) {
      await load.end()
      for (const replica of this.replicas) this.#first.set(replica, await measure(replica))
      load.start()
    }
    return { jobIds, load }
  }

  /** Until so many more reports are on disk. */
  async untilAnswered({ load }: Scene, more = 100): Promise<void> {
    const answers = load.answers
    await until(() => load.answers > answers + more)
  }

  /** Resolves when a job that has been silent since now would have been ended. */
  async outlastTimeout(): Promise<void> {
    const begun = performance.now()
    await until(() => performance.now() - begun > LONG_MS)
  }

  async untilReady(): Promise<void> {
    await Promise.all(
      this.replicas.map(replica => until(async () => (await replica.readiness())?.degraded?.length === 0)),
    )
  }

  /**
   * Ends the load, and asserts what must hold after every fault: no acknowledged report is lost or counted twice, no job was
   * judged, the stream of each replica ends at what the database holds, nothing waits anywhere, and no replica holds more
   * connections, descriptors or memory than before. In the end it completes the jobs, and the streams must show that too.
   */
  async assertWell(
    t: Test,
    { jobIds, load }: Scene,
    { refusals = [], lostBuffers = false }: Allowed = {},
  ): Promise<void> {
    await load.end()
    // From now on their silence is meant.
    await query(
      this.#databaseUrl(),
      'UPDATE public.progress_jobs SET heartbeat_timeout_seconds = 0 WHERE id = ANY($1)',
      [jobIds],
    )
    await this.untilReady()
    let troubles: string[] = []
    const settle = async (look: () => Promise<string[]>) => {
      await until(async () => (troubles = await look()).length === 0).catch(() => undefined)
      return troubles
    }
    const codes = [...load.refusals.keys()].filter(code => !refusals.includes(code))
    t.same(codes, [], 'no report was refused for another reason than the fault')
    const stored = () => readCounts(this.#databaseUrl(), jobIds)
    t.same(
      await settle(async () => load.compare(await stored(), { keptAll: !lostBuffers })),
      [],
      'no acknowledged report is lost, and none counts twice',
    )
    t.same(
      await settle(() => this.#unrest(jobIds)),
      [],
      'nothing waits, nobody was judged, and no connection is left over',
    )
    t.same(await settle(() => this.#outdated(jobIds)), [], 'each stream of each replica ends at the truth')
    for (const replica of this.alive) {
      t.same(await settle(() => this.#growth(replica)), [], 'no descriptor and no memory is left over')
    }
    for (const [index, id] of jobIds.entries()) {
      await call(this.replicas[index % this.replicas.length]!.url, 'POST', `/jobs/${id}/complete`)
    }
    t.same(await settle(() => this.#outdated(jobIds, 'completed')), [], 'and at the end of each job')
  }

  /** Where streams differ from the database. */
  async #outdated(jobIds: string[], status = 'running'): Promise<string[]> {
    const jobs = await query<LiveJob>(
      this.#databaseUrl(),
      `SELECT id, status, revision::integer AS revision, processed_count::integer AS "processedCount"
       FROM public.progress_jobs WHERE id = ANY($1)`,
      [jobIds],
    )
    const missing = jobs.filter(job => job.status !== status).map(job => `${job.id} is ${job.status}`)
    const differing = this.#streams.flatMap(({ jobs: seen }, replica) =>
      jobs.flatMap(({ id, ...truth }) => {
        const { revision, processedCount, status } = seen.get(id) ?? {}
        const shown = JSON.stringify({ status, revision, processedCount })
        return shown === JSON.stringify(truth)
          ? []
          : [`${id} of replica ${replica}: ${shown}, not ${JSON.stringify(truth)}`]
      }),
    )
    return [...missing, ...differing]
  }

  /** What is still under way in the replicas and the database. Each session belongs to a pool, or is a listener. */
  async #unrest(jobIds: string[]): Promise<string[]> {
    const all = await Promise.all(this.alive.map(({ url }) => scrape(url)))
    const [state] = await query<DatabaseState>(this.#databaseUrl(), READ_STATE, [jobIds])
    const known = all.reduce((sum, metrics) => sum + poolConnections(metrics) + 1, 0)
    const { sessions = 0, stuck = 0, verdicts = 0 } = state ?? {}
    const readings: [what: string, count: number, expected: number][] = [
      ['jobs were judged', verdicts, 0],
      ['sessions wait for locks or sit in a transaction', stuck, 0],
      ['sessions', sessions, known],
      ...all.flatMap((metrics, replica): [string, number, number][] => [
        [`reports wait in replica ${replica}`, metrics.value('headway_intake_entries') ?? NaN, 0],
        [`bytes wait in replica ${replica}`, metrics.value('headway_intake_bytes') ?? NaN, 0],
        [`connections of replica ${replica} are busy or awaited`, poolBusy(metrics), 0],
        [`streams are open at replica ${replica}`, metrics.value('headway_streams_open') ?? NaN, 1],
      ]),
    ]
    return readings
      .filter(([, count, expected]) => count !== expected)
      .map(([what, count, expected]) => `${count} ${what}, not ${expected}`)
  }

  async #growth(replica: ServiceProcess): Promise<string[]> {
    const first = this.#first.get(replica)
    // It came in the place of another one in the middle of the fault.
    if (!first) return []
    const now = await measure(replica)
    const descriptors = now.descriptors === first.descriptors
    const megabytes = (now.bytes - first.bytes) / 1024 / 1024
    return [
      ...(descriptors ? [] : [`${now.descriptors} descriptors, not ${first.descriptors}`]),
      ...(now.bytes - first.bytes <= GROWTH_BYTES ? [] : [`${megabytes.toFixed(1)} MB more`]),
    ]
  }
}

/** Starts both at once, with settings of each, on a database that may be empty. `databaseUrl` leads there past all proxies. */
export const startWorld = async (
  t: Test,
  { databaseUrl, settings }: { databaseUrl: () => string; settings: [Settings, Settings] },
): Promise<World> => {
  const spawn = (own: Settings) => spawnService(t, { ...SETTINGS, ...preload('collect', 'move-clock'), ...own })
  const replicas = await Promise.all(settings.map(own => spawn(own).ready()))
  const world = new World(t, replicas, databaseUrl, spawn)
  await world.untilReady()
  return world
}
