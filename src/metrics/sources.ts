import type { Database } from '../database/connection.ts'
import type { InFlight } from '../http/limits/in-flight.ts'
import type { JobCounts } from '../jobs/job-counts.ts'
import type { HeartbeatIntake } from '../jobs/heartbeats/intake.ts'
import type { Sweeper } from '../jobs/sweeper.ts'
import type { TurnedAway } from '../jobs/turned-away.ts'
import type { Announcer } from '../live/announcer.ts'
import type { LiveStation } from '../live/live.ts'
import type { Readings } from './readings.ts'
import { shareReading } from './shared-reading.ts'

export const readIntake = (
  { counter, gauge }: Readings,
  intake: Pick<HeartbeatIntake, 'stats' | 'oldestWaitMs'>,
  turnedAway: Pick<TurnedAway, 'underPressure'>,
): void => {
  const stats = () => intake.stats()
  gauge('headway_intake_entries', 'Entries that wait to be written, those in flight included', () => stats().pending)
  gauge('headway_intake_bytes', 'Rough size of what waits to be written', () => stats().bytes)
  gauge(
    'headway_intake_oldest_wait_seconds',
    'How long the oldest entry has waited; those of jobs whose row somebody holds locked do not count',
    () => intake.oldestWaitMs() / 1000,
  )
  gauge(
    'headway_intake_locked_jobs',
    'Jobs whose heartbeats wait because another session of the database holds what they write locked',
    () => stats().lockedJobs,
  )
  gauge(
    'headway_flush_refused',
    'Whether the database refuses to write heartbeats (1) or not (0): if so, functions, tables or rights of this version are missing',
    () => Number(stats().flushRefused),
  )
  counter(
    'headway_heartbeats_dropped_total',
    'Heartbeats that were answered as buffered and refused when they could be written',
    () => stats().dropped,
  )
  counter(
    'headway_intake_refused_calls_total',
    'Calls refused because too many heartbeats waited',
    () => stats().refused,
  )
  counter(
    'headway_pressure_refused_calls_total',
    'Calls refused because the process was under pressure',
    () => turnedAway.underPressure,
  )
}

export const readInFlight = (
  { counter, series }: Readings,
  inFlight: Pick<InFlight, 'bytesOf' | 'bodiesTurnedAway'>,
): void => {
  series(
    'headway_in_flight_bytes',
    'Bytes that clients make the process hold: bodies that are not answered yet, and answers that are not read yet',
    ['kind'],
    () => (['body', 'answer'] as const).map(kind => [{ kind }, inFlight.bytesOf(kind)]),
  )
  counter(
    'headway_in_flight_refused_bodies_total',
    'Bodies refused because the process held as many bytes as it may; those over the limit of their caller do not count',
    () => inFlight.bodiesTurnedAway,
  )
}

export const readSweeper = ({ gauge }: Readings, sweeper: Pick<Sweeper, 'sinceLastMs'>): void => {
  gauge(
    'headway_sweep_age_seconds',
    'Time since the last sweep for silent jobs that did not break off, by a clock that nobody sets',
    () => sweeper.sinceLastMs() / 1000,
  )
}

export const readLive = (
  { counter, gauge }: Readings,
  announcer: Pick<Announcer, 'stats'>,
  live: Pick<LiveStation, 'stats' | 'isListening' | 'openStreams' | 'openFeeds'>,
): void => {
  const told = () => announcer.stats()
  counter('headway_announced_changes_total', 'Changes of jobs announced to all replicas', () => told().announced)
  counter('headway_announce_statements_total', 'Statements that announced changes', () => told().statements)
  counter('headway_announce_failures_total', 'Statements that failed to announce changes', () => told().failures)
  counter(
    'headway_announce_dropped_changes_total',
    'Changes that were not announced; streams show them within 5 seconds all the same',
    () => told().dropped,
  )
  gauge(
    'headway_announce_lag_seconds',
    'From a change to the commit of its announcement, for the last statement',
    () => told().lagMs / 1000,
  )

  const stats = () => live.stats()
  gauge(
    'headway_listener_deaf',
    'Whether announcements are not heard (1), so that streams may be up to 5 seconds late',
    () => (live.isListening() ? 0 : 1),
  )
  gauge(
    'headway_listener_lag_seconds',
    'From a notification to its arrival, for the last ping that the listener sent itself',
    () => stats().pingMs / 1000,
  )
  counter('headway_listener_reconnects_total', 'Times the listener was heard again', () => stats().reconnects)
  counter('headway_listener_malformed_total', 'Notifications that Headway did not send', () => stats().malformed)

  gauge('headway_streams_open', 'Open streams', () => live.openStreams())
  gauge('headway_feeds_open', 'Different filters of open streams', () => live.openFeeds())
  counter('headway_stream_frames_total', 'Changes that went into feeds', () => stats().frames)
  counter('headway_stream_encoded_frames_total', 'Changes encoded, once for all feeds', () => stats().serialisations)
  counter('headway_stream_writes_total', 'Writes to the sockets of streams', () => stats().writes)
  counter('headway_stream_written_bytes_total', 'Bytes written to the sockets of streams', () => stats().bytes)
  counter('headway_stream_snapshots_total', 'Snapshots read from the database', () => stats().snapshots)
  counter(
    'headway_stream_catch_ups_total',
    'Times a reader that had fallen behind was given what it lacked',
    () => stats().catchUps,
  )
  counter('headway_streams_cut_total', 'Streams cut because their reader was too slow', () => stats().cut)
  counter(
    'headway_stream_read_failures_total',
    'Reads of changed jobs that failed; they are tried again',
    () => stats().failedReads,
  )
}

/** The wait for a connection adds to the time of a scrape, and Prometheus gives up after 10 s by default. */
const COUNTS_PATIENCE_MS = 1_000
const COUNTS_EVERY_MS = 15_000
const DAY_SECONDS = 86_400

export const readJobCounts = (
  { series, gauge }: Readings,
  countJobs: () => Promise<JobCounts>,
  retention: { days: number; intervalSeconds: number },
): void => {
  const counts = shareReading({ read: countJobs, everyMs: COUNTS_EVERY_MS, patienceMs: COUNTS_PATIENCE_MS })
  series(
    'headway_jobs',
    'Unfinished jobs of all tenants, by status; the same at every replica',
    ['status'],
    async () => {
      const known = await counts()
      if (!known) return []
      const { pending, running } = known.value
      return [
        [{ status: 'pending' }, pending],
        [{ status: 'running' }, running],
      ]
    },
  )
  series('headway_stalled_jobs', 'Running jobs that are stalled; the same at every replica', [], async () => {
    const known = await counts()
    return known ? [[{}, known.value.stalled]] : []
  })
  series(
    'headway_late_jobs',
    'Unfinished jobs that are at risk of missing their deadline, or overdue; the same at every replica',
    ['deadline'],
    async () => {
      const known = await counts()
      if (!known) return []
      const { atRisk, overdue } = known.value
      return [
        [{ deadline: 'at_risk' }, atRisk],
        [{ deadline: 'overdue' }, overdue],
      ]
    },
  )
  gauge(
    'headway_retention_interval_seconds',
    'Time between two runs of retention, by RETENTION_SCHEDULE',
    () => retention.intervalSeconds,
  )
  series(
    'headway_retention_behind_seconds',
    'For how long the oldest job that retention has to erase should have been gone; the same at every replica',
    [],
    async () => {
      const known = await counts()
      if (!known) return []
      const behind = retention.days === 0 ? 0 : known.value.oldestSeconds - retention.days * DAY_SECONDS
      return [[{}, Math.max(0, behind)]]
    },
  )
  series(
    'headway_jobs_age_seconds',
    'How old the numbers of jobs are; they grow old without the database',
    [],
    async () => {
      const known = await counts()
      return [[{}, known?.ageSeconds ?? Infinity]]
    },
  )
}

export const readPools = (
  { series }: Readings,
  databases: Record<'requests' | 'heartbeats', Pick<Database, 'connections'>>,
  waitingCalls: () => number,
): void => {
  const pools = () => {
    const requests = databases.requests.connections()
    return [
      { pool: 'requests', ...requests, waiting: requests.waiting + waitingCalls() },
      { pool: 'heartbeats', ...databases.heartbeats.connections() },
    ]
  }
  series('headway_database_connections', 'Open connections to the database', ['pool', 'state'], () =>
    pools().flatMap(({ pool, idle, busy }) => [
      [{ pool, state: 'idle' }, idle],
      [{ pool, state: 'busy' }, busy],
    ]),
  )
  series('headway_database_connections_max', 'Connections that a pool may open', ['pool'], () =>
    pools().map(({ pool, max }) => [{ pool }, max]),
  )
  series('headway_database_waiting', 'Statements that wait for a connection', ['pool'], () =>
    pools().map(({ pool, waiting }) => [{ pool }, waiting]),
  )
}
