import { pino } from 'pino'
import type { Badges } from '../jobs/badges/badges.ts'
import type { Jobs } from '../jobs/use-cases.ts'
import type { Live } from '../live/live.ts'
import type { Webhooks } from '../webhooks/webhook.ts'
import { openApiYaml } from './documentation.ts'
import { IN_FLIGHT, InFlight } from './limits/in-flight.ts'
import { LoopTurns } from '../turns/loop-turns.ts'
import { createHttpServer } from './server.ts'

/** Stands for the parts that are required but never called: only the routes are read. */
const unused: unknown = new Proxy({}, { get: () => () => Promise.reject(new Error('Nothing runs here')) })

/** The text of `openapi.yaml`, made from the routes. Needs no database and opens no socket. */
export const buildOpenApi = async (): Promise<string> => {
  const app = await createHttpServer({
    config: {
      authMode: null,
      shutdownGraceSeconds: 0,
      rateLimitPerSecond: 0,
      rateLimitUnauthenticatedPerSecond: 0,
      corsOrigins: [],
      trustedProxies: [],
      maxStreams: 0,
      maxStreamsPerIdentity: 0,
      liveKeepaliveSeconds: 15,
    },
    jobs: unused as Jobs,
    webhooks: unused as Webhooks,
    badges: unused as Badges,
    live: { close: () => Promise.resolve() } as Live,
    health: { unreadiness: () => Promise.resolve(null), sweeps: () => true },
    metrics: { contentType: 'text/plain', text: () => Promise.resolve(''), answered: () => undefined },
    pressure: { maxEventLoopDelayMs: 0, maxHeapBytes: 0, onRefused: () => undefined },
    dashboard: [],
    inFlight: new InFlight(IN_FLIGHT),
    loopTurns: new LoopTurns(),
    log: pino({ level: 'silent' }),
  })
  try {
    await app.ready()
    return openApiYaml(app)
  } finally {
    await app.close()
  }
}
