import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { operation } from '../schemas/operation.ts'

const example = `# HELP headway_streams_open Open streams
# TYPE headway_streams_open gauge
headway_streams_open 12
`

/** What Prometheus reads. Handed in, so that http knows no library for it. */
export interface MetricsText {
  contentType: string
  /** Takes at most about a second. */
  text(): Promise<string>
}

/**
 * For Prometheus. Beside the API, like the health of the process: it says nothing of any tenant, and must be there when
 * nothing else is.
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
