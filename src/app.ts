import pg from 'pg'
import type { Logger } from 'pino'
import type { Config } from './config.ts'
import type { JobChange } from './contract/change.ts'
import { clientOptions, openDatabase } from './database/connection.ts'
import { createNotify } from './database/notify.ts'
import { readDashboard } from './http/dashboard-files.ts'
import { IN_FLIGHT, InFlight } from './http/limits/in-flight.ts'
import { createHttpServer } from './http/server.ts'
import { createTokens } from './http/tokens/identify.ts'
import { createBadges } from './jobs/badges/badges.ts'
import { createBadgeRepository } from './jobs/badges/repository.ts'
import { createUseCases } from './jobs/create-use-cases.ts'
import { createHeartbeatIntake } from './jobs/heartbeats/intake.ts'
import { createHeartbeatWrite } from './jobs/heartbeats/write.ts'
import { createInTurn, takeTurns } from './jobs/in-turn.ts'
import { countJobs } from './jobs/job-counts.ts'
import { createLiveSource } from './jobs/live-source.ts'
import { createJobRepository } from './jobs/repository.ts'
import { createRetention } from './jobs/retention.ts'
import { createSchedule, intervalSecondsOf } from './jobs/schedule.ts'
import { createRollUp } from './jobs/statistics/roll-up.ts'
import { createSweeper } from './jobs/sweeper.ts'
import { createHistories } from './jobs/type-histories.ts'
import { countTurnedAway, TurnedAway } from './jobs/turned-away.ts'
import { createUntoldChanges } from './jobs/untold-changes.ts'
import { createAnnouncer } from './live/announcer.ts'
import { createLive } from './live/live.ts'
import { LoopTurns } from './turns/loop-turns.ts'
import { logChanges } from './live/log-changes.ts'
import { CHANNEL } from './live/payload.ts'
import { watchLoopDelay } from './loop-delay.ts'
import { createMetrics } from './metrics/metrics.ts'
import { createReadiness } from './readiness.ts'
import { version } from './version.ts'
import { createWebhookStation } from './webhooks/station.ts'

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

/** Two flushes, a try of locked jobs, announcements and sweeps: slow reads of callers must not hold these up. */
const HEARTBEAT_POOL_SIZE = 5
/** Once the callers are gone, a statement that still works takes less. */
const HURRY_MS = 1_000
/** The build makes it of src/dashboard. It is the same from src/ and from dist/. */
const DASHBOARD = new URL('../dist/dashboard/', import.meta.url)

/** The whole service, wired: every part is made here, with all it needs. */
export const createApp = async ({ config, databaseUrl, listenUrl, log }: AppOptions): Promise<App> => {
  const { stalledAfterSeconds, maxEventLoopDelayMs, shutdownGraceSeconds, retentionDays } = config
  const sweepIntervalSeconds = intervalSecondsOf(config.sweepSchedule, 'SWEEP_SCHEDULE')
  const retentionIntervalSeconds = intervalSecondsOf(config.retentionSchedule, 'RETENTION_SCHEDULE')
  let closing = false
  const isClosing = () => closing

  const open = (poolSize: number) =>
    openDatabase({
      url: databaseUrl,
      poolSize,
      preparedStatements: config.preparedStatements,
      // Not the error itself: pg hangs the whole client on it, with all that it knows of the connection.
      onConnectionError: error => log.warn({ reason: error.message }, 'lost a database connection'),
    })
  const database = open(config.databasePoolSize)
  const heartbeatDatabase = open(HEARTBEAT_POOL_SIZE)
  const { inTurn, waiting } = createInTurn(config.databasePoolSize)

  const metrics = createMetrics()
  const loopDelay = watchLoopDelay()
  const turnedAway = new TurnedAway()
  const inFlight = new InFlight(IN_FLIGHT)
  const loopTurns = new LoopTurns()

  // What a change sets off: a line in the log, a count, the streams of all replicas, and messages to webhooks.
  const announcer = createAnnouncer({
    notify: createNotify(heartbeatDatabase, CHANNEL),
    progressIntervalMs: config.liveIntervalMs,
    log,
  })
  const webhooks = createWebhookStation({
    database,
    inTurn,
    allowedNetworks: config.webhookAllowedNetworks,
    recordDays: config.webhookRecordDays,
    encryptionKeys: config.encryptionKeys,
    mail: config.mail,
    platforms: config.platforms,
    publicUrl: config.publicUrl,
    userAgent: `headway/${version}`,
    isClosing,
    log,
  })
  const note = (changes: readonly JobChange[]): void => {
    logChanges(log, changes)
    metrics.countFinished(changes)
    metrics.countDeadlines(changes)
  }
  const announce = (changes: readonly JobChange[]): void => {
    note(changes)
    announcer.announce(changes)
    webhooks.changed(changes)
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
    loopTurns,
    log,
  })

  // What makes changes: heartbeats, calls, and the sweeper.
  const intake = createHeartbeatIntake({
    write: metrics.timeFlushes(createHeartbeatWrite(heartbeatDatabase)),
    announce,
    heartbeatIntervalMs: config.heartbeatIntervalMs,
    stalledAfterSeconds,
    // Workers slow down before calls must be refused.
    pressure: () => (maxEventLoopDelayMs === 0 ? 0 : loopDelay.meanMs() / maxEventLoopDelayMs),
    log,
  })
  const jobs = createUseCases({
    repository: createJobRepository(database, { stalledAfterSeconds, sweepIntervalSeconds }),
    intake,
    announce,
    defaultHeartbeatTimeoutSeconds: config.staleJobTimeoutSeconds,
  })
  const sweeper = createSweeper({
    database: heartbeatDatabase,
    announce,
    intake() {
      const unwritten = intake.unwritten()
      return { ...unwritten, refused: unwritten.refused + turnedAway.total + inFlight.bodiesTurnedAway }
    },
    stalledAfterSeconds,
    intervalSeconds: sweepIntervalSeconds,
    log,
  })
  const sweep = metrics.timeSweeps(() => {
    // Changes that were missed while the listener was deaf, or no process ran.
    untold.look()
    return sweeper.sweep()
  })
  const eraseExpired = metrics.countErased(createRetention({ database, retentionDays, log, isClosing }))
  const schedules = [
    createSchedule('sweep', config.sweepSchedule, sweep, log),
    createSchedule('histories of types', config.sweepSchedule, createHistories(database), log),
    createSchedule('statistics', config.sweepSchedule, createRollUp({ database, isClosing }), log),
    createSchedule('retention', config.retentionSchedule, eraseExpired, log),
    createSchedule('retention of deliveries', config.retentionSchedule, webhooks.eraseDeliveries, log),
    createSchedule('encryption of secrets', config.retentionSchedule, webhooks.resealSecrets, log),
  ]

  const httpLog = log.child({})
  const tokens =
    config.auth &&
    createTokens({
      auth: config.auth,
      guessesPerSecond: config.rateLimitUnauthenticatedPerSecond,
      onKeysUnavailable: () => (turnedAway.otherwise += 1),
      log,
    })
  const http = await createHttpServer({
    // Half of the grace: requests that wait for a database in trouble must leave time to say what could not be written.
    config: { ...config, shutdownGraceSeconds: shutdownGraceSeconds / 2 },
    jobs: metrics.countHeartbeats(countTurnedAway(takeTurns(jobs, inTurn), turnedAway)),
    webhooks: webhooks.useCases,
    badges: createBadges({ repository: createBadgeRepository(database), inTurn }),
    live,
    health: {
      unreadiness: createReadiness({
        databases: [database, heartbeatDatabase],
        isFlushRefused: () => intake.stats().flushRefused,
      }),
      sweeps: () => sweeper.isOnTime(),
    },
    metrics,
    pressure: { maxEventLoopDelayMs, onRefused: () => (turnedAway.underPressure += 1) },
    inFlight,
    loopTurns,
    dashboard: readDashboard(DASHBOARD),
    log: httpLog,
    ...(tokens && { identify: tokens.identify }),
  })

  metrics.readFrom({
    intake,
    sweeper,
    turnedAway,
    inFlight,
    announcer,
    live,
    countJobs: () => countJobs(database),
    retention: { days: retentionDays, intervalSeconds: retentionIntervalSeconds },
    webhooks,
    pools: { requests: database, heartbeats: heartbeatDatabase },
    waitingCalls: waiting,
  })

  return {
    async listen() {
      live.start()
      webhooks.start()
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
      const webhooksStopped = webhooks.close((shutdownGraceSeconds * 1000) / 4)
      await http.close()
      await intake.close((shutdownGraceSeconds * 1000) / 4)
      // A statement that the database does not answer is cancelled while there is time: its backend would outlive this process.
      for (const each of [database, heartbeatDatabase]) each.hurry(HURRY_MS)
      await schedulesStopped
      await webhooksStopped
      await untold.close()
      await announcer.close()
      await sweeper.close()
      await Promise.all([database.close(), heartbeatDatabase.close()])
    },
  }
}
