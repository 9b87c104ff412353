import { HEADER } from '../contract/http.ts'
import type { FastifyContextConfig, FastifyInstance, FastifyReply } from 'fastify'

/** An answered request. `route` is a pattern, never a URL (each value is remembered for ever), and `none` where nothing is. */
export interface AnsweredRequest {
  method: string
  route: string
  status: number
  ms: number
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers last as long as their readers want: their time says nothing. */
    endless?: boolean
  }
}

/** The answer was kept open on purpose: a stream, or `Prefer: wait`. */
const wasHeld = (reply: FastifyReply, { endless = false }: FastifyContextConfig): boolean =>
  reply.statusCode < 400 && (endless || reply.hasHeader(HEADER.preferenceApplied))

/** Tells `answered` of every request that was answered, except those that are held open: what they took is not our doing. */
export const registerRequestTimes = (app: FastifyInstance, answered: (request: AnsweredRequest) => void): void => {
  app.addHook('onResponse', (request, reply, done) => {
    // Read once: Fastify makes a new object each time.
    const { config, url = 'none' } = request.routeOptions
    if (!wasHeld(reply, config)) {
      answered({ method: request.method, route: url, status: reply.statusCode, ms: reply.elapsedTime })
    }
    done()
  })
}
