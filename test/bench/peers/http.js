// The Fastify of the service, as it is set in src/http/server.ts, with the routes that are measured: what they do is up to the peer.
// Validation and serialisation are Fastify's own, from JSON schemas (https://fastify.dev/docs/latest/Reference/Validation-and-Serialization/).
import Fastify, { LogController } from 'fastify'

const BODY = {
  type: 'object',
  additionalProperties: false,
  properties: {
    workerId: { type: 'string', minLength: 1, maxLength: 200 },
    processedCount: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    totalCount: { type: ['integer', 'null'], minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    message: { type: ['string', 'null'], maxLength: 500 },
  },
}

const BULK = {
  type: 'object',
  additionalProperties: false,
  required: ['heartbeats'],
  properties: {
    heartbeats: {
      type: 'array',
      minItems: 1,
      maxItems: 1000,
      items: {
        ...BODY,
        required: ['jobId'],
        properties: { ...BODY.properties, jobId: { type: 'string', minLength: 1, maxLength: 100 } },
      },
    },
  },
}

const PARAMS = { type: 'object', properties: { id: { type: 'string', minLength: 1, maxLength: 100 } } }

const ANSWER = {
  type: 'object',
  properties: {
    jobId: { type: 'string' },
    workerId: { type: 'string' },
    status: { type: 'string' },
    cancelRequested: { type: 'boolean' },
    progressPercent: { type: 'integer' },
    processedCount: { type: 'integer' },
    revision: { type: 'integer' },
    applied: { type: 'boolean' },
    heartbeatIntervalMs: { type: 'integer' },
    durable: { type: 'boolean' },
  },
}

/**
 * Serves `POST /api/progress/jobs/:id/heartbeat`, and with `reportAll` `POST /api/progress/heartbeats`; answers its address. With
 * `isText` the reports are answered by a text instead of a document.
 */
export const serveHeartbeats = async (report, { reportAll, isText = false } = {}) => {
  const app = Fastify({
    logger: { level: 'warn' },
    logController: new LogController({ disableRequestLogging: true }),
    childLoggerFactory: logger => logger,
    bodyLimit: 256 * 1024,
    connectionTimeout: 120_000,
    requestTimeout: 30_000,
    keepAliveTimeout: 72_000,
    http: { headersTimeout: 15_000 },
    forceCloseConnections: true,
    trustProxy: false,
    routerOptions: { maxParamLength: 200 },
  })
  app.post(
    '/api/progress/jobs/:id/heartbeat',
    { schema: { params: PARAMS, body: BODY, ...(!isText && { response: { 200: ANSWER } }) } },
    async ({ params, body }) => report(params.id, body),
  )
  if (reportAll) {
    app.post('/api/progress/heartbeats', { bodyLimit: 8 * 1024 * 1024, schema: { body: BULK } }, async ({ body }) =>
      reportAll(body.heartbeats),
    )
  }
  return app.listen({ host: '127.0.0.1', port: 0 })
}
