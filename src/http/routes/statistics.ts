import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import type { Jobs } from '../../jobs/use-cases.ts'
import { operation } from '../schemas/operation.ts'
import { statistics, statisticsQuery } from '../schemas/statistics.ts'

/** The route for statistics of finished jobs, by type. */
export const statisticsRoutes: FastifyPluginAsyncZod<{ jobs: Jobs }> = async (app, { jobs }) => {
  app.route({
    method: 'GET',
    url: '/stats',
    config: { feature: 'progress.view' },
    schema: {
      ...operation({
        id: 'getStatistics',
        summary: 'How jobs went, by type',
        description: 'Of the jobs that finished between `since` and `until`.',
        tag: 'jobs',
        answers: { 200: { description: 'One entry for each type that has something to count.', schema: statistics } },
        refusals: ['database_unavailable'],
      }),
      querystring: statisticsQuery,
    },
    handler: ({ identity, query: { since, until, ...filter } }) =>
      jobs.stats(identity, {
        ...filter,
        ...(since !== undefined && { since: new Date(since) }),
        ...(until !== undefined && { until: new Date(until) }),
      }),
  })
}
