import { HEADER, BASE_PATH } from '../contract/http.ts'
import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../config.ts'
import type { Badges } from '../jobs/badges/badges.ts'
import type { Jobs } from '../jobs/use-cases.ts'
import type { Live } from '../live/live.ts'
import type { Webhooks } from '../webhooks/webhook.ts'
import { registerAnswersInFlight } from './answers-in-flight.ts'
import { forgetTypeOfEmptyBody, registerBodyParser } from './bodies.ts'
import { registerCors } from './cors.ts'
import type { DashboardFile } from './dashboard-files.ts'
import { identifyEveryone, registerIdentity } from './identity.ts'
import type { Identify } from './identity.ts'
import { createHold } from './limits/held.ts'
import type { LoopTurns } from '../turns/loop-turns.ts'
import type { InFlight } from './limits/in-flight.ts'
import { createGuesses } from './limits/guesses.ts'
import { createRateLimit } from './limits/rate-limit.ts'
import { registerDocumentation } from './documentation.ts'
import { registerLingeringClose } from './lingering-close.ts'
import { refuseWebPages, requireHost } from './open-mode.ts'
import { clientErrorHandler, handleError, refuseExpectation } from './problems.ts'
import { registerPressure } from './pressure.ts'
import type { PressureLimits } from './pressure.ts'
import { createRequestIds } from './request-id.ts'
import { RequestLog } from './request-log.ts'
import { registerRequestTimes } from './request-times.ts'
import type { AnsweredRequest } from './request-times.ts'
import { badgePictureRoutes, badgeRoutes } from './routes/badges.ts'
import { dashboardRoutes } from './routes/dashboard.ts'
import { healthRoutes } from './routes/health.ts'
import type { Health } from './routes/health.ts'
import { heartbeatRoutes } from './routes/heartbeats.ts'
import { jobRoutes } from './routes/jobs.ts'
import { lifecycleRoutes } from './routes/lifecycle.ts'
import { mcpRoutes } from './routes/mcp.ts'
import { metricsRoutes } from './routes/metrics.ts'
import type { MetricsText } from './routes/metrics.ts'
import { statisticsRoutes } from './routes/statistics.ts'
import { streamRoutes } from './routes/streams.ts'
import { webhookRoutes } from './routes/webhooks.ts'
import { createSharedRead } from './shared-reads.ts'
import { registerShutdown } from './shutdown.ts'
import { registerChallenges } from './tokens/challenge.ts'
import { keepEveryHeader, refuseAmbiguous } from './unambiguous.ts'
import { registerUnknownRoutes } from './unknown-routes.ts'
import { validatorCompiler } from './validation.ts'

const BODY_LIMIT = 256 * 1024

/** How long clients may take, in milliseconds. The defaults are documented; tests use shorter ones. */
export interface HttpTiming {
  /** For the headers of a request, also if the client sends nothing at all. */
  headersMs: number
  /** For a whole request. Answers and streams are not limited by it. */
  requestMs: number
  /** How often Node looks for requests that took too long; they may take this much longer. */
  checkMs: number
  /** For a socket on which no byte moves. Longer than the longest `Prefer: wait`. Streams are exempt. */
  silentMs: number
  /**
   * For a connection between two requests. It is longer than the idle timeout of common load balancers (60 s), so that the
   * balancer closes the connection first. Otherwise the service could close it while a request is on its way.
   */
  keepAliveMs: number
  /** For a client that has its answer and is still sending a body that is not read. */
  lingerMs: number
}

const TIMING: HttpTiming = {
  headersMs: 15_000,
  requestMs: 30_000,
  checkMs: 5_000,
  silentMs: 120_000,
  keepAliveMs: 72_000,
  lingerMs: 2_000,
}

export type HttpConfig = Pick<
  Config,
  | 'authMode'
  | 'shutdownGraceSeconds'
  | 'rateLimitPerSecond'
  | 'rateLimitUnauthenticatedPerSecond'
  | 'corsOrigins'
  | 'trustedProxies'
  | 'maxStreams'
  | 'maxStreamsPerIdentity'
  | 'liveKeepaliveSeconds'
>

export interface HttpParts {
  config: HttpConfig
  jobs: Jobs
  webhooks: Webhooks
  badges: Badges
  live: Pick<Live, 'open' | 'waitForJob' | 'isListening' | 'close'>
  health: Health
  metrics: MetricsText & { answered: (request: AnsweredRequest) => void }
  pressure: PressureLimits
  dashboard: readonly DashboardFile[]
  log: FastifyBaseLogger
  /** Absent: the service has no authentication. */
  identify?: Identify
  timing?: Partial<HttpTiming>
  inFlight: InFlight
  loopTurns: LoopTurns
}

/** Sets the headers of every answer: the id of its request, and that browsers must not guess another content type. */
const sign = (request: FastifyRequest, reply: FastifyReply): FastifyReply =>
  reply.header(HEADER.requestId, request.id).header('x-content-type-options', 'nosniff')

const createFastify = (log: FastifyBaseLogger, trustedProxies: string[], timing: HttpTiming): FastifyInstance =>
  Fastify({
    loggerInstance: log,
    // Two log lines per heartbeat would cost more than anything else the service does, and would contain URLs with their
    // queries.
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    childLoggerFactory: (logger, bindings) => new RequestLog(logger, bindings),
    genReqId: createRequestIds(),
    frameworkErrors: (error, request, reply) => {
      void handleError(error, request, sign(request, reply))
    },
    clientErrorHandler: clientErrorHandler({ lingerMs: timing.lingerMs }),
    bodyLimit: BODY_LIMIT,
    connectionTimeout: timing.silentMs,
    requestTimeout: timing.requestMs,
    keepAliveTimeout: timing.keepAliveMs,
    // Node would refuse a request without Host with an empty answer; `requireHost` refuses it with a problem document.
    http: {
      headersTimeout: timing.headersMs,
      connectionsCheckingInterval: timing.checkMs,
      requireHostHeader: false,
    },
    forceCloseConnections: true,
    // Fastify means this as a limit for plugins that never load, but it also stops waiting for its own close after it (10 s by
    // default), even if the shutdown may take longer.
    pluginTimeout: 0,
    return503OnClosing: false,
    trustProxy: trustedProxies.length > 0 && trustedProxies,
    routerOptions: { maxParamLength: 200 },
  })

/**
 * The HTTP side of the service, not yet listening. Closing it ends the streams (`live.close`) and lets requests end, for at
 * most `shutdownGraceSeconds`.
 */
export const createHttpServer = async (parts: HttpParts): Promise<FastifyInstance> => {
  const {
    config,
    jobs,
    webhooks,
    badges,
    live,
    health,
    metrics,
    pressure,
    dashboard,
    log,
    identify,
    inFlight,
    loopTurns,
  } = parts
  const { rateLimitPerSecond, rateLimitUnauthenticatedPerSecond, trustedProxies, corsOrigins } = config
  const timing = { ...TIMING, ...parts.timing }
  const app = createFastify(log, trustedProxies, timing)
  app.setValidatorCompiler(validatorCompiler)
  // Answers are documents in their final form, so nothing is left to encode; zod would take six times as long. They end with a
  // line feed, so that the next prompt of a terminal stands on a line of its own.
  const serialize = (data: unknown) => `${JSON.stringify(data)}\n`
  app.setSerializerCompiler(() => serialize)
  app.setReplySerializer(serialize)
  app.setErrorHandler(handleError)
  keepEveryHeader(app)
  registerBodyParser(app, inFlight, loopTurns)
  registerAnswersInFlight(app, inFlight)
  registerLingeringClose(app, { silentMs: timing.lingerMs, loopTurns })

  const openOnLoopback = identify === undefined && config.authMode !== 'none'
  const admit = openOnLoopback ? refuseWebPages(corsOrigins) : requireHost
  app.addHook('onRequest', (request, reply, done) => {
    sign(request, reply)
    admit(request)
    refuseAmbiguous(request)
    forgetTypeOfEmptyBody(request)
    done()
  })
  registerRequestTimes(app, metrics.answered)
  // After the check above, so that the pages that it refuses learn nothing. Before everything else, so that allowed pages can
  // read every refusal.
  await registerCors(app, corsOrigins)
  app.server.on('checkExpectation', refuseExpectation)
  const { closing } = registerShutdown(app, {
    graceMs: config.shutdownGraceSeconds * 1000,
    endStreams: () => live.close(),
  })
  registerUnknownRoutes(app)

  await registerDocumentation(app)
  // Outside the API, so that they answer under pressure and without a token.
  await app.register(healthRoutes, { health, live })
  await app.register(metricsRoutes, { metrics })
  await app.register(dashboardRoutes, { files: dashboard })
  await app.register(async pictures => {
    await registerPressure(pictures, pressure)
    const guesses = createGuesses({ perSecond: rateLimitUnauthenticatedPerSecond, now: () => performance.now() })
    await pictures.register(badgePictureRoutes, { badges, guesses })
  })
  await app.register(async guarded => {
    await registerPressure(guarded, pressure)
    if (identify) registerChallenges(guarded)
    registerIdentity(guarded, identify ?? identifyEveryone, {
      rateLimit: createRateLimit({ perSecond: rateLimitPerSecond }),
      onAdmitted: tenantId => loopTurns.saw(tenantId),
    })
    const hold = createHold({ max: config.maxStreams, maxPerCaller: config.maxStreamsPerIdentity })
    const waiting = { live, closing, hold, sharedRead: createSharedRead(loopTurns) }
    await guarded.register(
      async api => {
        await api.register(jobRoutes, { jobs, ...waiting })
        await api.register(lifecycleRoutes, { jobs })
        await api.register(heartbeatRoutes, { jobs, loopTurns })
        await api.register(statisticsRoutes, { jobs })
        await api.register(streamRoutes, { jobs, live, keepaliveSeconds: config.liveKeepaliveSeconds })
        await api.register(webhookRoutes, { webhooks })
        await api.register(badgeRoutes, { badges, jobs })
      },
      { prefix: BASE_PATH },
    )
    await guarded.register(mcpRoutes, { jobs, inFlight, ...waiting })
  })
  return app
}
