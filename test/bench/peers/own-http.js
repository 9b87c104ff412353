// The service's own HTTP layer over jobs that do nothing: what is left of the difference is the intake and the database.
import { pino } from 'pino'
import { IN_FLIGHT, InFlight } from '../../../dist/http/limits/in-flight.js'
import { createHttpServer } from '../../../dist/http/server.js'
import { createMetrics } from '../../../dist/metrics/metrics.js'
import { serveCalls } from '../environment/processes.js'

const answer = ({ jobId, workerId }) => ({
  jobId,
  workerId,
  status: 'running',
  cancelRequested: false,
  progressPercent: 0,
  revision: 1,
  applied: true,
  heartbeatIntervalMs: 5000,
  durable: true,
})

const metrics = createMetrics()

const jobs = {
  heartbeat: async (_identity, heartbeat) => answer(heartbeat),
  heartbeats: async (_identity, heartbeats) => heartbeats.map(answer),
}

const app = await createHttpServer({
  config: { authMode: undefined, shutdownGraceSeconds: 5, rateLimitPerSecond: 0, corsOrigins: [], trustedProxies: [] },
  jobs: metrics.countHeartbeats(jobs),
  live: {
    open: async () => undefined,
    waitForJob: async () => null,
    isListening: () => true,
    close: async () => undefined,
  },
  dashboard: [],
  webhooks: undefined,
  health: { database: async () => true },
  metrics,
  pressure: { maxEventLoopDelayMs: 1000, onRefused: () => undefined },
  inFlight: new InFlight(IN_FLIGHT),
  log: pino({ level: 'silent' }),
})
const origin = await app.listen({ host: '127.0.0.1', port: 0 })

serveCalls({ ready: () => ({ origin }) })
