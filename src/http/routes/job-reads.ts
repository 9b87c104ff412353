import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { HEADER } from '../../contract/http.ts'
import type { ProgressPart } from '../../contract/job.ts'
import { isFinished } from '../../contract/states.ts'
import type { Identity } from '../../jobs/identity.ts'
import type { Jobs } from '../../jobs/use-cases.ts'
import { alreadyHas, newestRevisionIn, sendVersioned } from '../conditional.ts'
import { eventPage, jobWithWorkers, progress } from '../schemas/job.ts'
import { operation, type Answer } from '../schemas/operation.ts'
import { batchPartitions } from '../schemas/partitions.ts'
import { eventsQuery, jobParams, partitionsQuery, progressQuery, readHeaders, readQuery } from '../schemas/requests.ts'
import { held, patienceMs, preferredWaitSeconds, readShared, readWhenEnough, watchClient } from '../waiting.ts'
import type { JobStateOfAnswer, WaitParts } from '../waiting.ts'

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

export interface JobRouteParts extends WaitParts {
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

/** Routes that read one job: the whole job, its progress, and its history. */
export const readingRoutes: FastifyPluginAsyncZod<JobRouteParts> = async (app, { jobs, ...waiting }) => {
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
    url: '/jobs/:id/partitions',
    config: { feature: 'progress.view' },
    schema: {
      ...operation({
        id: 'listPartitions',
        summary: 'Read all partitions of a batch',
        tag: 'jobs',
        answers: { 200: { description: 'The partitions, in short.', schema: batchPartitions } },
        refusals: ['database_unavailable', 'job_not_found'],
      }),
      params: jobParams,
      querystring: partitionsQuery,
    },
    handler: async ({ identity, params, query }, reply) => {
      const since = query.since === undefined ? null : new Date(query.since)
      const json = await jobs.partitions(identity, params.id, since)
      return reply.header('cache-control', 'no-cache').type('application/json; charset=utf-8').send(Buffer.from(json))
    },
  })

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
