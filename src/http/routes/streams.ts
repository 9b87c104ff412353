import { HEADER } from '../../contract/http.ts'
import { fastifySSE } from '@fastify/sse'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { HeadwayError } from '../../contract/errors.ts'
import { LIFECYCLES } from '../../contract/states.ts'
import type { Jobs } from '../../jobs/use-cases.ts'
import { scopeOf, visibilityOf, type Identity } from '../../jobs/identity.ts'
import type { FeedFilter } from '../../live/change.ts'
import type { Live, StreamFormat } from '../../live/live.ts'
import { refuseExpired } from '../identity.ts'
import { streamFormat } from '../negotiation.ts'
import { ndjsonExample, sseExample, textExample } from '../schemas/examples.ts'
import { operation } from '../schemas/operation.ts'
import type { Answer, Operation } from '../schemas/operation.ts'
import { watchClient } from '../waiting.ts'
import { jobParams, jobStreamQuery, streamHeaders, streamQuery } from '../schemas/requests.ts'

const CONTENT_TYPES: Record<StreamFormat, string> = {
  sse: 'text/event-stream; charset=utf-8',
  ndjson: 'application/x-ndjson; charset=utf-8',
  text: 'text/plain; charset=utf-8',
}

/** The plugin writes no frames and no keepalive of its own: the hub writes every byte after the headers. */
const SSE = { kind: 'manual', heartbeat: false } as const

/** An EventSource cannot set headers, so streams take the token in the query. */
const STREAM_CONFIG = { feature: 'progress.view', takesTokenInQuery: true, endless: true } as const

interface StreamQuery {
  jobId?: string[]
  jobType?: string
  parentJobId?: string
  topLevel?: boolean
  organizationId?: string
}

/** The jobs that this caller may see, narrowed by its query. Raises `forbidden` for another organization. */
const filterOf = (identity: Identity, query: StreamQuery): FeedFilter => {
  const visibility = visibilityOf(scopeOf(identity))
  const { organizationId } = query
  if (organizationId !== undefined && !visibility.allOrganizations && organizationId !== visibility.organizationId) {
    throw new HeadwayError('forbidden', 'Jobs of another organization need the feature progress.manage.')
  }
  return {
    ...visibility,
    ...(organizationId !== undefined && { allOrganizations: false, organizationId }),
    jobIds: query.jobId ?? [],
    jobType: query.jobType ?? null,
    parentJobId: query.parentJobId ?? null,
    topLevel: query.topLevel ?? false,
  }
}

/**
 * Refuses a stream behind an unfinished answer of the same connection. Its response has no socket yet and would not notice that
 * the client left, so the stream would keep its place for nobody.
 */
const refusePipelined = ({ raw }: FastifyReply): void => {
  if (raw.socket !== null) return
  throw new HeadwayError(
    'too_many_streams',
    'Another answer of this connection has not ended yet: open a connection for each stream.',
    { retryAfterSeconds: 1 },
  )
}

/** Hands the response over to the hub. Until then every refusal is a problem document; after that only the hub writes. */
const stream = async (
  live: Pick<Live, 'open'>,
  request: FastifyRequest<{ Querystring: { lastEventId?: string } }>,
  reply: FastifyReply,
  what: { filter: FeedFilter; untilFinishedJobId: string | null },
): Promise<FastifyReply> => {
  refuseExpired(request.identity)
  const format = streamFormat(request.headers.accept, { ofOneJob: what.untilFinishedJobId !== null })
  const header = request.headers[HEADER.lastEventId]
  const left = new AbortController()
  const unwatch = watchClient(request.raw, () => left.abort())
  const opening = live.open({
    ...what,
    left: left.signal,
    format,
    lastEventId: typeof header === 'string' ? header : (request.query.lastEventId ?? null),
    caller: request.identity.caller,
    expiresAtMs: request.identity.expiresAtMs,
  })
  const open = await opening.finally(unwatch)
  const { raw } = reply
  // If the client left while the snapshot was read, the response was closed before the hub listened to it, and the hub would
  // not notice.
  if (raw.destroyed || raw.writableEnded || request.raw.socket.destroyed) {
    open.abandon()
    return reply.hijack()
  }
  if (open.alreadySeen) {
    open.abandon()
    return reply.code(204).send()
  }
  reply
    .header('content-type', CONTENT_TYPES[format])
    .header('cache-control', 'no-cache, no-transform')
    .header('x-accel-buffering', 'no')
    .header('vary', [reply.getHeader('vary') ?? [], 'accept'].flat().join(', '))
  // No timeout: the hub ends readers that are too slow by its own rules, and a stream without changes may be silent.
  request.raw.socket.setTimeout(0)
  reply.sse.keepAlive()
  reply.sse.sendHeaders()
  reply.hijack()
  open.start(raw)
  raw.flushHeaders()
  return reply
}

const EVENTS =
  `Events: \`snapshot\`, then \`progress.job.*\`: ${['updated', ...LIFECYCLES].join(', ')}. ` +
  'Every connection begins with a snapshot `{ jobs: [...], truncated? }` of the active jobs and ' +
  'of those that have just finished; data of the others is the newest state of one job, null fields left out. Progress that is ' +
  'outdated before it can be written is skipped: act on `data.status`, not on the name of an event. `application/x-ndjson` has one ' +
  '`{ event, id, data }` a line. The service ends a stream after some ten minutes: connect again with the last id.'

const STREAM: Answer = {
  description: 'Events, as long as the connection lasts.',
  content: {
    'text/event-stream': { schema: { type: 'string' }, example: sseExample },
    'application/x-ndjson': { schema: { type: 'string' }, example: ndjsonExample },
  },
  headers: {
    'cache-control': { type: 'string', description: '`no-cache, no-transform`' },
    'x-accel-buffering': { type: 'string', description: '`no`: nginx then passes every event on at once.' },
    'x-keepalive-seconds': {
      type: 'string',
      description: 'How often something is sent at least: where nothing comes for much longer, the connection is dead.',
    },
  },
}

const STREAM_OF_ONE: Answer = {
  ...STREAM,
  content: { ...STREAM.content, 'text/plain': { schema: { type: 'string' }, example: textExample } },
}

const TEXT =
  ' This one ends once the job has finished for good. With `Accept: text/plain` it is for a terminal: one line that is drawn ' +
  'over itself, and the outcome on a line of its own.'

const streaming = (documentation: Pick<Operation, 'id' | 'summary' | 'refusals'>, answers = {}, also = '') =>
  operation({
    ...documentation,
    description: `${EVENTS}${also}`,
    tag: 'streams',
    takesTokenInQuery: true,
    answers: { 200: STREAM, ...answers },
    refusals: ['database_unavailable', 'not_acceptable', 'too_many_streams', ...(documentation.refusals ?? [])],
  })

interface StreamRouteParts {
  jobs: Jobs
  live: Pick<Live, 'open'>
  /** How often something is written to an idle stream. */
  keepaliveSeconds: number
}

/** Live streams, of many jobs and of one. HEAD is off, because the plugin would open a stream and never end it. */
export const streamRoutes: FastifyPluginAsyncZod<StreamRouteParts> = async (app, { jobs, live, keepaliveSeconds }) => {
  await app.register(fastifySSE)
  app.addHook('onRequest', (_request, reply, done) => {
    refusePipelined(reply)
    reply.header('x-keepalive-seconds', String(keepaliveSeconds))
    done()
  })
  app.route({
    method: 'GET',
    url: '/stream',
    sse: SSE,
    exposeHeadRoute: false,
    config: STREAM_CONFIG,
    schema: {
      ...streaming({ id: 'streamJobs', summary: 'Follow jobs live' }),
      querystring: streamQuery,
      headers: streamHeaders,
    },
    handler: (request, reply) =>
      stream(live, request, reply, { filter: filterOf(request.identity, request.query), untilFinishedJobId: null }),
  })

  app.route({
    method: 'GET',
    url: '/jobs/:id/stream',
    sse: SSE,
    exposeHeadRoute: false,
    config: STREAM_CONFIG,
    schema: {
      ...streaming(
        { id: 'streamJob', summary: 'Follow one job live', refusals: ['job_not_found'] },
        {
          200: STREAM_OF_ONE,
          204: { description: 'The job has finished and the caller has seen it: an EventSource stops.' },
        },
        TEXT,
      ),
      params: jobParams,
      querystring: jobStreamQuery,
      headers: streamHeaders,
    },
    handler: async (request, reply) => {
      const { identity, params } = request
      // An unknown job is answered with 404, and not with a stream that stays silent.
      await jobs.progress(identity, params.id)
      const filter = filterOf(identity, { jobId: [params.id] })
      return stream(live, request, reply, { filter, untilFinishedJobId: params.id })
    },
  })
}
