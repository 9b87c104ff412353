import { HEADER } from '../../contract/http.ts'
import { isFinished } from '../../contract/states.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import type { Jobs, ListJobs } from '../../jobs/use-cases.ts'
import type { SortKey } from '../../contract/requests.ts'
import type { Identity } from '../../jobs/identity.ts'
import type { ProgressPart } from '../../contract/job.ts'
import { alreadyHas, newestRevisionIn, sendVersioned, sendVersionedAll } from '../conditional.ts'
import { createJob } from '../schemas/create-job.ts'
import { activeJobs, createdJob, eventPage, jobPage, jobWithWorkers, progress } from '../schemas/job.ts'
import { CHANGE_REFUSALS, operation } from '../schemas/operation.ts'
import type { Answer } from '../schemas/operation.ts'
import { nothing } from '../schemas/primitives.ts'
import {
  activeQuery,
  conditionalHeaders,
  createHeaders,
  eventsQuery,
  jobParams,
  listQuery,
  progressQuery,
  readHeaders,
  readQuery,
} from '../schemas/requests.ts'
import { held, patienceMs, preferredWaitSeconds, readShared, readWhenEnough, watchClient } from '../waiting.ts'
import type { JobStateOfAnswer, WaitParts } from '../waiting.ts'

const sortOf = (text: string): ListJobs['sort'] => {
  const descending = text.startsWith('-')
  return { key: (descending ? text.slice(1) : text) as SortKey, descending }
}

const versioned = (answer: Answer): Record<number, Answer> => ({
  200: {
    ...answer,
    headers: {
      etag: { type: 'string', description: 'Made of id and revision.' },
      [HEADER.preferenceApplied]: { type: 'string', description: 'How long the answer could have been held.' },
    },
  },
  304: { description: 'The caller has this revision.' },
})

const WAITING =
  '`If-None-Match` answers 304 while the revision is the same. With `Prefer: wait=N` as well, the answer is held until it changes. ' +
  'With `Prefer: wait=N` and `until=finished`, it is held until the job has finished; the answer is then always 200 with the job. ' +
  'Nothing is held past the end of the token: `Preference-Applied` says for how long it could have been.'

interface JobRouteParts extends WaitParts {
  jobs: Jobs
}

/** An answer in bytes, made once and shared by all callers who wait for it. */
interface ReadyAnswer extends JobStateOfAnswer {
  json: Buffer
}

const ready = (document: { id: string; revision: number; status: string }): ReadyAnswer => ({
  id: document.id,
  revision: document.revision,
  finished: isFinished(document),
  json: Buffer.from(`${JSON.stringify(document)}\n`),
})

interface Held {
  jobId: string
  seconds: number
  untilFinished: boolean
  /** The kind of document, as part of the key under which the read is shared. */
  shape: string
  read: (identity: Identity) => Promise<{ id: string; revision: number; status: string }>
}

/** Holds the answer until the job is in the state that the caller waits for, or its time is up. */
const answerWhenEnough = async (
  parts: WaitParts,
  request: FastifyRequest,
  reply: FastifyReply,
  { jobId, seconds, untilFinished, shape, read }: Held,
): Promise<FastifyReply> => {
  const { identity, headers } = request
  const ifNoneMatch = headers['if-none-match']
  const has = (state: JobStateOfAnswer) => alreadyHas(ifNoneMatch, state)
  const ms = patienceMs(identity, seconds)
  reply.header(HEADER.preferenceApplied, `wait=${Math.min(seconds, Math.ceil(ms / 1000))}`)
  const answer = await held(
    parts,
    identity,
    ms,
    leave => watchClient(request.raw, leave),
    signal =>
      readWhenEnough(
        parts,
        {
          identity,
          jobId,
          known: newestRevisionIn(ifNoneMatch, jobId),
          isEnough: state => (untilFinished ? state.finished : !has(state)),
          // A caller who has left needs no answer either.
          needsNothing: state => request.raw.socket.destroyed || (!untilFinished && has(state)),
          read: () =>
            readShared(parts.sharedRead, identity, { shape, jobId }, async reader => ready(await read(reader))),
        },
        signal,
      ),
  )
  return sendVersioned(request, reply, answer, {
    always: untilFinished,
    ...('json' in answer && { json: answer.json }),
  })
}

/** Routes that create, find and read jobs. */
export const jobRoutes: FastifyPluginAsyncZod<JobRouteParts> = async (app, { jobs, ...waiting }) => {
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
        answers: { 200: { description: 'A page of jobs; without filters, the active ones.', schema: jobPage } },
        refusals: ['database_unavailable'],
      }),
      querystring: listQuery,
    },
    handler: ({ identity, query }) => {
      const { sort, completedSince, search, ...rest } = query
      return jobs.list(identity, {
        ...rest,
        sort: sortOf(sort),
        ...(completedSince !== undefined && { completedSince: new Date(completedSince) }),
        ...(search !== undefined && search !== '' && { search }),
      })
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

  await app.register(readingRoutes, { jobs, ...waiting })
}

/** Routes that read one job: the whole job, its progress, and its history. */
const readingRoutes: FastifyPluginAsyncZod<JobRouteParts> = async (app, { jobs, ...waiting }) => {
  for (const { url, id, summary, description, schema, querystring, read } of [
    {
      url: '/jobs/:id',
      id: 'getJob',
      summary: 'Read a job and its workers',
      description: 'The job and its workers.',
      schema: jobWithWorkers,
      querystring: readQuery,
      read: (identity: Identity, jobId: string) => jobs.get(identity, jobId),
    },
    {
      url: '/jobs/:id/progress',
      id: 'getProgress',
      summary: 'Read how far a job is',
      description: 'The small document for polling.',
      schema: progress,
      querystring: progressQuery,
      read: (identity: Identity, jobId: string, include: readonly ProgressPart[]) =>
        jobs.progress(identity, jobId, include),
    },
  ]) {
    app.route({
      method: 'GET',
      url,
      config: { feature: 'progress.view' },
      schema: {
        ...operation({
          id,
          summary,
          description: WAITING,
          tag: 'jobs',
          answers: versioned({ description, schema }),
          refusals: ['database_unavailable', 'job_not_found', 'too_many_streams'],
        }),
        params: jobParams,
        querystring,
        headers: readHeaders,
      },
      handler: async (request, reply) => {
        const { identity, params, query, headers } = request
        const untilFinished = query.until === 'finished'
        const include = 'include' in query ? [...new Set(query.include)].sort() : []
        const seconds = preferredWaitSeconds(headers.prefer)
        if (seconds === null) {
          const document = await read(identity, params.id, include)
          return sendVersioned(request, reply, document, { always: untilFinished && 'prefer' in headers })
        }
        return answerWhenEnough(waiting, request, reply, {
          jobId: params.id,
          seconds,
          untilFinished,
          shape: [id, ...include].join(' '),
          read: reader => read(reader, params.id, include),
        })
      },
    })
  }

  app.route({
    method: 'GET',
    url: '/jobs/:id/events',
    config: { feature: 'progress.view' },
    schema: {
      ...operation({
        id: 'listJobEvents',
        summary: 'Read the history of a job',
        description:
          'Every lifecycle change, every stage it came to (`stage_changed`), and samples of how far it was (`progress`).',
        tag: 'jobs',
        answers: { 200: { description: 'A page of its history, oldest first.', schema: eventPage } },
        refusals: ['database_unavailable', 'job_not_found'],
      }),
      params: jobParams,
      querystring: eventsQuery,
    },
    handler: ({ identity, params, query }) => jobs.events(identity, params.id, query),
  })
}
