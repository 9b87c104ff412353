import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { HEADER } from '../../contract/http.ts'
import type { SortKey } from '../../contract/requests.ts'
import type { ListJobs } from '../../jobs/use-cases.ts'
import { sendVersionedAll } from '../conditional.ts'
import { createJob } from '../schemas/create-job.ts'
import { activeJobs, createdJob, jobPage } from '../schemas/job.ts'
import { CHANGE_REFUSALS, operation } from '../schemas/operation.ts'
import { nothing } from '../schemas/primitives.ts'
import { activeQuery, conditionalHeaders, createHeaders, listQuery } from '../schemas/requests.ts'
import { readingRoutes, type JobRouteParts } from './job-reads.ts'

const sortOf = (text: string): ListJobs['sort'] => {
  const descending = text.startsWith('-')
  return { key: (descending ? text.slice(1) : text) as SortKey, descending }
}

/** The query of the next page, relative to this call, because only the caller knows under which path a proxy shows the service. */
const queryOfNext = (url: string, cursor: string): string => {
  const query = new URL(url, 'http://service').searchParams
  query.delete('page')
  // A token in the query is not repeated where it may be logged.
  query.delete('access_token')
  query.set('cursor', cursor)
  return `?${query.toString()}`
}

/** Routes that create, find and read jobs. */
export const jobRoutes: FastifyPluginAsyncZod<JobRouteParts> = async (app, parts) => {
  const { jobs } = parts
  app.route({
    method: 'POST',
    url: '/jobs',
    config: { feature: 'progress.create' },
    schema: {
      ...operation({
        id: 'createJob',
        summary: 'Create a job',
        tag: 'jobs',
        answers: {
          201: {
            description: 'The job, pending until it is started or first reported.',
            schema: createdJob,
            headers: { location: { type: 'string', description: 'Where the job is read, relative to this call.' } },
          },
          200: { description: 'The job that an earlier call with this idempotency key made.', schema: createdJob },
        },
        refusals: [
          ...CHANGE_REFUSALS,
          'invalid_stages',
          'invalid_partition',
          'parent_not_found',
          'parent_finished',
          'idempotency_key_reused',
        ],
      }),
      querystring: nothing,
      headers: createHeaders,
      body: createJob,
    },
    handler: async (request, reply) => {
      const { identity, body, headers } = request
      const { job, created } = await jobs.create(identity, body, headers[HEADER.idempotencyKey] ?? null)
      if (!created) return reply.send(job)
      // Relative, because only the caller knows under which path a proxy shows the service.
      return reply.code(201).header('location', `jobs/${job.id}`).send(job)
    },
  })

  app.route({
    method: 'GET',
    url: '/jobs',
    config: { feature: 'progress.view' },
    schema: {
      ...operation({
        id: 'listJobs',
        summary: 'List jobs',
        tag: 'jobs',
        answers: {
          200: {
            description: 'A page of jobs; without filters, the active ones.',
            schema: jobPage,
            headers: {
              link: { type: 'string', description: 'The next page (RFC 8288, `rel="next"`), if there is one.' },
            },
          },
        },
        refusals: ['database_unavailable'],
      }),
      querystring: listQuery,
    },
    handler: async (request, reply) => {
      const { sort, completedSince, completedBefore, search, ...rest } = request.query
      const page = await jobs.list(request.identity, {
        ...rest,
        sort: sortOf(sort),
        ...(completedSince !== undefined && { completedSince: new Date(completedSince) }),
        ...(completedBefore !== undefined && { completedBefore: new Date(completedBefore) }),
        ...(search !== undefined && search !== '' && { search }),
      })
      if (page.next !== null) reply.header('link', `<${queryOfNext(request.url, page.next)}>; rel="next"`)
      return page
    },
  })

  app.route({
    method: 'GET',
    url: '/active',
    config: { feature: 'progress.view' },
    schema: {
      ...operation({
        id: 'listActiveJobs',
        summary: 'What runs now, and what has just finished',
        tag: 'jobs',
        answers: {
          200: {
            description: 'Top-level jobs: at most 50 active and 10 finished.',
            schema: activeJobs,
            headers: { etag: { type: 'string', description: 'Made of the ids and revisions of all of them.' } },
          },
          304: { description: 'The caller has these revisions of these jobs.' },
        },
        refusals: ['database_unavailable'],
      }),
      querystring: activeQuery,
      headers: conditionalHeaders,
    },
    handler: async (request, reply) => {
      const active = await jobs.active(request.identity, request.query.recentSeconds)
      return sendVersionedAll(request, reply, [...active.active, ...active.recentlyCompleted], active)
    },
  })

  await app.register(readingRoutes, parts)
}
