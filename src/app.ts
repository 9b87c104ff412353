import pg from 'pg'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import { clientOptions, openDatabase } from './database/connection.ts'
import { readDashboard } from './http/dashboard-files.ts'
import { createHttpServer } from './http/server.ts'
import { IN_FLIGHT, InFlight } from './http/limits/in-flight.ts'
import { createTokens } from './http/tokens/identify.ts'
import { createHeartbeatIntake } from './jobs/heartbeats/intake.ts'
import { countJobs } from './jobs/job-counts.ts'
import { createInTurn, takeTurns } from './jobs/in-turn.ts'
import { createJobs } from './jobs/jobs.ts'
import { createLiveSource } from './jobs/live-source.ts'
import { createJobRepository } from './jobs/repository.ts'
import { createRetention } from './jobs/retention.ts'
import { createSchedule, intervalSecondsOf } from './jobs/schedule.ts'
import { createSweeper } from './jobs/sweeper.ts'
import { createUntoldChanges } from './jobs/untold-changes.ts'
import { createHeartbeatWrite } from './jobs/heartbeats/write.ts'
import { tellTurnedAway } from './jobs/turned-away.ts'
import { createAnnouncer } from './live/announcer.ts'
import type { Announce } from './live/change.ts'
import type { JobChange } from './contract/change.ts'
import { logChanges } from './live/log-changes.ts'
import { createLive } from './live/live.ts'
import { watchLoopDelay } from './loop-delay.ts'
import { createMetrics } from './metrics/metrics.ts'
import { createReadiness } from './readiness.ts'
import { version } from './version.ts'
import { createAddresses } from './webhooks/addresses.ts'
import { createDeliverer } from './webhooks/deliverer.ts'
import { takeTurnsForWebhooks } from './webhooks/in-turn.ts'
import { createOutbox } from './webhooks/outbox.ts'
import { createPost } from './webhooks/post.ts'
import { createWebhookRepository } from './webhooks/repository.ts'
import { createDeliveryRetention } from './webhooks/retention.ts'
import { createWebhooks } from './webhooks/webhooks.ts'

export interface AppOptions {
  config: Config
  databaseUrl: string
  /** A direct connection, where `databaseUrl` goes through a transaction pooler. */
  listenUrl: string
  log: Logger
}

export interface App {
  /** Begins to serve; resolves with the address. The database must have been migrated. */
  listen(): Promise<string>
  /** Ends streams and requests, writes what was accepted, and lets go of the database. */
  close(): Promise<void>
}

/** Once the callers are gone, what is left of a statement that works takes less. */
const HURRY_MS = 1_000

/** Sweeps are late when so many in a row have not come, and not before so many seconds: one may wait for its statements. */
const MISSED_SWEEPS = 3
const LATE_SWEEP_SECONDS = 60

/** A receiver that has not answered by then has failed. */
const WEBHOOK_TIMEOUT_MS = 15_000
/** With time to write down what became of it. */
const WEBHOOK_LEASE_SECONDS = 60
const DELIVERIES_PER_WEBHOOK = 8
/** What the build makes of src/dashboard; the same from src/ and from dist/. */
const DASHBOARD = new URL('../dist/dashboard/', import.meta.url)

/** The whole service, wired: every part is made here, with all it needs. */
export const createApp = async ({ config, databaseUrl, listenUrl, log }: AppOptions): Promise<App> => {
  const sweepIntervalSeconds = intervalSecondsOf(config.sweepSchedule, 'SWEEP_SCHEDULE')
  const retentionIntervalSeconds = intervalSecondsOf(config.retentionSchedule, 'RETENTION_SCHEDULE')

  const open = (poolSize: number) =>
    openDatabase({
      url: databaseUrl,
      poolSize,
      preparedStatements: config.preparedStatements,
      // Not the error itself: pg hangs the whole client on it, with all that it knows of the connection.
      onConnectionError: error => log.warn({ reason: error.message }, 'lost a database connection'),
    })
  const database = open(config.databasePoolSize)
  // Of their own, so that slow reads cannot hold up what the service lives by: two flushes, a try of locked jobs, announcements
  // and sweeps.
  const heartbeatDatabase = open(5)

  // What callers have the database do, none of them so much that another one finds no connection.
  const { inTurn, waiting } = createInTurn(config.databasePoolSize)

  const metrics = createMetrics()
  const announcer = createAnnouncer({
    notify: async payloads => {
      // Not waiting for the disk: a hint that a crash loses is found by reconcile.
      await heartbeatDatabase.query(
        'headway_notify',
        "SELECT set_config('synchronous_commit', 'off', true), pg_notify('headway', payload) FROM unnest($1::text[]) AS payload",
        [payloads],
      )
    },
    progressIntervalMs: config.liveIntervalMs,
    log,
  })
  const note = (changes: readonly JobChange[]): void => {
    logChanges(log, changes)
    metrics.countFinished(changes)
  }
  const untold = createUntoldChanges({ database, onChanges: note, log })
  const live = createLive({
    source: createLiveSource(database, inTurn),
    connectListener: () => new pg.Client(clientOptions(listenUrl)),
    onUntold: () => untold.look(),
    intervalMs: config.liveIntervalMs,
    keepaliveSeconds: config.liveKeepaliveSeconds,
    maxStreams: config.maxStreams,
    maxStreamsPerCaller: config.maxStreamsPerIdentity,
    log,
  })

  const addresses = createAddresses(config.webhookAllowedNetworks)
  const outbox = createOutbox({ database, perWebhook: DELIVERIES_PER_WEBHOOK, leaseSeconds: WEBHOOK_LEASE_SECONDS })
  const deliverer = createDeliverer({
    outbox,
    post: createPost({ addresses, timeoutMs: WEBHOOK_TIMEOUT_MS }),
    userAgent: `headway/${version}`,
    log,
  })
  const webhooks = createWebhooks({
    repository: createWebhookRepository(database),
    addresses,
    takesPlainHttp: config.webhookAllowedNetworks.length > 0,
    onChange: () => deliverer.look(),
  })
  /** The process that made a change also sends its messages, as a rule: the others need not hear of it. */
  const tell: Announce = changes => {
    announcer.announce(changes)
    if (changes.some(change => change.lifecycle)) deliverer.wake()
  }
  const announce: Announce = changes => {
    note(changes)
    tell(changes)
  }

  const { maxEventLoopDelayMs, shutdownGraceSeconds } = config
  const loopDelay = watchLoopDelay()
  const intake = createHeartbeatIntake({
    write: metrics.timeFlushes(createHeartbeatWrite(heartbeatDatabase)),
    announce,
    heartbeatIntervalMs: config.heartbeatIntervalMs,
    stalledAfterSeconds: config.stalledAfterSeconds,
    // Workers slow down before calls must be refused.
    pressure: () => (maxEventLoopDelayMs === 0 ? 0 : loopDelay.meanMs() / maxEventLoopDelayMs),
    log,
  })
  const jobs = createJobs({
    repository: createJobRepository(database, {
      stalledAfterSeconds: config.stalledAfterSeconds,
      sweepIntervalSeconds,
    }),
    intake,
    announce: tell,
    onChanges: note,
    defaultHeartbeatTimeoutSeconds: config.staleJobTimeoutSeconds,
  })
  let refusedUnderPressure = 0
  /** Other calls that were turned away for no fault of their callers. */
  let turnedAway = 0
  const noteTurnedAway = () => (turnedAway += 1)
  const inFlight = new InFlight(IN_FLIGHT)
  const sweeper = createSweeper({
    database: heartbeatDatabase,
    announce: tell,
    onVerdicts: note,
    intake() {
      const unwritten = intake.unwritten()
      const refused = unwritten.refused + refusedUnderPressure + turnedAway + inFlight.bodiesTurnedAway
      return { ...unwritten, refused }
    },
    stalledAfterSeconds: config.stalledAfterSeconds,
    intervalSeconds: sweepIntervalSeconds,
    log,
  })
  const sweep = metrics.timeSweeps(() => {
    // What was missed while the listener was deaf, or no process ran.
    untold.look()
    return sweeper.sweep()
  })
  let closing = false
  const isClosing = () => closing
  const { retentionDays } = config
  const eraseExpired = metrics.countErased(createRetention({ database, retentionDays, log, isClosing }))
  const eraseDeliveries = createDeliveryRetention({ outbox, recordDays: config.webhookRecordDays, log, isClosing })
  const schedules = [
    createSchedule('sweep', config.sweepSchedule, () => sweep(), log),
    createSchedule('retention', config.retentionSchedule, () => eraseExpired(), log),
    createSchedule('retention of deliveries', config.retentionSchedule, () => eraseDeliveries(), log),
  ]

  const health = {
    unreadiness: createReadiness({
      databases: [database, heartbeatDatabase],
      isFlushRefused: () => intake.stats().flushRefused,
    }),
    sweeps: () => sweeper.sinceLastMs() <= 1000 * Math.max(MISSED_SWEEPS * sweepIntervalSeconds, LATE_SWEEP_SECONDS),
  }
  // Half of the grace: requests that wait for a database in trouble must leave time to say what could not be written.
  const httpLog = log.child({})
  const tokens =
    config.auth &&
    createTokens({
      auth: config.auth,
      guessesPerSecond: config.rateLimitUnauthenticatedPerSecond,
      onKeysUnavailable: noteTurnedAway,
      log,
    })
  const http = await createHttpServer({
    config: { ...config, shutdownGraceSeconds: shutdownGraceSeconds / 2 },
    jobs: metrics.countHeartbeats(tellTurnedAway(takeTurns(jobs, inTurn), noteTurnedAway)),
    webhooks: takeTurnsForWebhooks(webhooks, inTurn),
    live,
    health,
    metrics,
    pressure: { maxEventLoopDelayMs, onRefused: () => (refusedUnderPressure += 1) },
    inFlight,
    dashboard: readDashboard(DASHBOARD),
    log: httpLog,
    ...(tokens && { identify: tokens.identify }),
  })

  metrics.readFrom({
    intake,
    sweeper,
    refusedUnderPressure: () => refusedUnderPressure,
    inFlight,
    announcer,
    live,
    countJobs: () => countJobs(database),
    retention: { days: retentionDays, intervalSeconds: retentionIntervalSeconds },
    deliverer,
    countDeliveries: () => outbox.count(),
    databases: {
      requests: {
        connections() {
          const connections = database.connections()
          return { ...connections, waiting: connections.waiting + waiting() }
        },
      },
      heartbeats: heartbeatDatabase,
    },
  })

  return {
    async listen() {
      live.start()
      deliverer.start()
      tokens?.start()
      // Fastify would say a line of its own for each interface; serve.ts says one.
      httpLog.level = 'silent'
      const address = await http.listen({ host: config.host, port: config.port })
      httpLog.level = log.level
      // The first visit opens this process's healthy window. Not before it listens: a process that cannot serve must not be
      // missed by the others.
      await sweep().catch((error: unknown) => log.error({ err: error }, 'the first sweep failed'))
      if (!closing) for (const schedule of schedules) schedule.start()
      return address
    },
    async close() {
      closing = true
      loopDelay.close()
      sweeper.stop()
      // A sweep that waits for a database in trouble must not keep streams and requests from their end.
      const schedulesStopped = Promise.all(schedules.map(schedule => schedule.stop()))
      const deliverersStopped = deliverer.close((shutdownGraceSeconds * 1000) / 4)
      await http.close()
      await intake.close((shutdownGraceSeconds * 1000) / 4)
      // A statement that the database does not answer is cancelled while there is time: its backend would outlive this process.
      for (const each of [database, heartbeatDatabase]) each.hurry(HURRY_MS)
      await schedulesStopped
      await deliverersStopped
      await untold.close()
      await announcer.close()
      await sweeper.close()
      await Promise.all([database.close(), heartbeatDatabase.close()])
    },
  }
}
