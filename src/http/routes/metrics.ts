import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { operation } from '../schemas/operation.ts'

const example = `# HELP headway_streams_open Open streams
# TYPE headway_streams_open gauge
headway_streams_open 12
`

/** The text that Prometheus reads. It is passed in, so that http needs no library for it. */
export interface MetricsText {
  contentType: string
  /** Takes at most about a second. */
  text(): Promise<string>
}

/**
 * The route for Prometheus. It is outside the API like the health routes: it shows no data of any tenant, and must answer when
 * the API does not.
 */
export const metricsRoutes: FastifyPluginAsyncZod<{ metrics: MetricsText }> = async (app, { metrics }) => {
  app.route({
    method: 'GET',
    url: '/metrics',
    schema: operation({
      id: 'readMetrics',
      summary: 'What Prometheus reads',
      description: 'Of this process, without data of any tenant. Also while the database is away.',
      tag: 'operations',
      answers: {
        200: {
          description: "Prometheus's text format.",
          content: { 'text/plain': { schema: { type: 'string' }, example } },
        },
      },
    }),
    handler: async (_request, reply) => reply.header('content-type', metrics.contentType).send(await metrics.text()),
  })
}
