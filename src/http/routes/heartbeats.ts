import type { FastifyReply } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { HeadwayError } from '../../contract/errors.ts'
import type { Jobs } from '../../jobs/use-cases.ts'
import type { Heartbeat, HeartbeatAnswer } from '../../contract/heartbeat.ts'
import { DEFAULT_WORKER_ID } from '../../contract/job.ts'
import { trainerReport } from '../../contract/trainer-status.ts'
import type { LoopTurns } from '../../turns/loop-turns.ts'
import type { ProblemCode } from '../problems.ts'
import {
  bulkAnswer,
  bulkHeartbeat,
  bulkHeartbeats,
  heartbeat,
  heartbeatAnswer,
  increment,
  trainerStatus,
  updateJob,
} from '../schemas/heartbeat.ts'
import { operation, REPORT_REFUSALS } from '../schemas/operation.ts'
import type { Operation } from '../schemas/operation.ts'
import { isPlainBulkHeartbeat, isPlainHeartbeat, isPlainId } from '../schemas/plain-heartbeat.ts'
import { nothing } from '../schemas/primitives.ts'
import { jobParams } from '../schemas/requests.ts'
import { fieldErrors, plainFirst, validationFailed } from '../validation.ts'

/** As much as Kubeflow Trainer takes. */
const TRAINER_BODY_LIMIT = 64 * 1024

/** A thousand heartbeats with their payloads. */
const BULK_BODY_LIMIT = 8 * 1024 * 1024

const REFUSALS: ProblemCode[] = [
  ...REPORT_REFUSALS,
  'job_not_found',
  'already_finished',
  'superseded',
  'is_batch',
  'too_many_workers',
  'unknown_stage',
]

const reporting = (documentation: Pick<Operation, 'id' | 'summary' | 'description'>, refusals = REFUSALS) =>
  operation({
    ...documentation,
    tag: 'heartbeats',
    answers: {
      200: { description: 'The report is on disk.', schema: heartbeatAnswer },
      202: {
        description: 'The database is away: the report is kept and written later, and may be lost until then.',
        schema: heartbeatAnswer,
      },
    },
    refusals,
  })

/**
 * Sets the status for `report` and answers it. A handler that returned the reply would cost three more turns, because a reply
 * is a thenable.
 */
const answer = (reply: FastifyReply, report: HeartbeatAnswer): HeartbeatAnswer => {
  reply.code(report.durable ? 200 : 202)
  return report
}

/** A heartbeat with its worker, or its refusal. */
const readItem = (item: unknown, index: number): Heartbeat | HeadwayError => {
  if (isPlainBulkHeartbeat(item)) return { workerId: DEFAULT_WORKER_ID, ...item }
  const parsed = bulkHeartbeat.safeParse(item)
  if (!parsed.success) return validationFailed(fieldErrors(parsed.error, ['heartbeats', index]))
  return { workerId: DEFAULT_WORKER_ID, ...parsed.data }
}

/** The new deadline that a call names; null removes the present one. */
const dueOf = (
  finishBy: string | null | undefined,
  finishWithinSeconds: number | null | undefined,
): Heartbeat['due'] => {
  if (typeof finishBy === 'string') return { finishBy }
  if (typeof finishWithinSeconds === 'number') return { finishWithinSeconds }
  return finishBy === null || finishWithinSeconds === null ? null : undefined
}

const isBuffered = (result: HeartbeatAnswer | HeadwayError): boolean =>
  !(result instanceof HeadwayError) && !result.durable

const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null)

/** A refused item in the answer of a bulk request. The item may be any value. */
const refusedItem = (item: unknown, { code, message, details }: HeadwayError) => {
  const { jobId, workerId = DEFAULT_WORKER_ID } = (item ?? {}) as { jobId?: unknown; workerId?: unknown }
  return {
    jobId: textOrNull(jobId)?.slice(0, 200) ?? null,
    workerId: textOrNull(workerId)?.slice(0, 200) ?? null,
    code,
    detail: message,
    ...(details.jobStatus !== undefined && { jobStatus: details.jobStatus }),
    ...(details.errors && { errors: details.errors }),
  }
}

interface HeartbeatRouteParts {
  jobs: Jobs
  loopTurns: LoopTurns
}

const bulkRoute: FastifyPluginAsyncZod<HeartbeatRouteParts> = async (app, { jobs, loopTurns }) => {
  app.route({
    method: 'POST',
    url: '/heartbeats',
    bodyLimit: BULK_BODY_LIMIT,
    config: { feature: 'progress.update' },
    schema: {
      ...operation({
        id: 'reportHeartbeats',
        summary: 'Report for many workers at once',
        description:
          'One result per heartbeat, in order. A refused one does not fail the others: its result has the `code` that the ' +
          'call for one heartbeat would answer. `outcome_unknown`: the connection to the database was lost while an ' +
          'increment was written; read the count before you send it again.',
        tag: 'heartbeats',
        answers: {
          200: { description: 'All that were taken are on disk.', schema: bulkAnswer },
          202: { description: 'The database is away: some are kept and written later.', schema: bulkAnswer },
        },
        refusals: REPORT_REFUSALS.filter(code => code !== 'outcome_unknown'),
      }),
      querystring: nothing,
      body: bulkHeartbeats,
    },
    handler: async ({ identity, body }, reply) => {
      const items = await loopTurns.map(identity, body.heartbeats, readItem)
      const taken = items.filter((item): item is Heartbeat => !(item instanceof HeadwayError))
      const answers = taken.length === 0 ? [] : await jobs.heartbeats(identity, taken)
      let next = 0
      const results = await loopTurns.map(identity, items, (item, index) => {
        const result = item instanceof HeadwayError ? item : answers[next++]
        if (result === undefined) throw new Error('Fewer answers than heartbeats')
        return result instanceof HeadwayError ? refusedItem(body.heartbeats[index], result) : result
      })
      return reply.code(answers.some(isBuffered) ? 202 : 200).send({ results })
    },
  })
}

/** The routes for heartbeats. All report progress, and differ only in the fields that they take. */
export const heartbeatRoutes: FastifyPluginAsyncZod<HeartbeatRouteParts> = async (app, { jobs, loopTurns }) => {
  const request = { params: jobParams, querystring: nothing }
  app.route({
    method: 'POST',
    url: '/jobs/:id/heartbeat',
    config: { feature: 'progress.update' },
    schema: {
      ...reporting({ id: 'reportHeartbeat', summary: 'Report: I am alive, and this far' }),
      ...request,
      body: heartbeat,
    },
    validatorCompiler: plainFirst({
      params: params => isPlainId((params as { id: unknown }).id),
      querystring: query => Object.keys(query as object).length === 0,
      body: isPlainHeartbeat,
    }),
    handler: async ({ identity, params, body }, reply) => {
      const report = { jobId: params.id, workerId: DEFAULT_WORKER_ID, ...body }
      return answer(reply, await jobs.heartbeat(identity, report))
    },
  })
  app.route({
    method: 'PUT',
    url: '/jobs/:id',
    config: { feature: 'progress.update' },
    schema: {
      ...reporting({ id: 'updateJob', summary: 'Set progress', description: 'A heartbeat of the worker `default`.' }, [
        ...REFUSALS,
        'meta_too_large',
      ]),
      ...request,
      body: updateJob,
    },
    handler: async ({ identity, params, body }, reply) => {
      const { finishBy, finishWithinSeconds, ...rest } = body
      const due = dueOf(finishBy, finishWithinSeconds)
      const report = { jobId: params.id, workerId: DEFAULT_WORKER_ID, ...rest, ...(due !== undefined && { due }) }
      return answer(reply, await jobs.heartbeat(identity, report))
    },
  })
  app.route({
    method: 'POST',
    url: '/jobs/:id/increment',
    config: { feature: 'progress.update' },
    schema: {
      ...reporting({
        id: 'incrementJob',
        summary: 'Add to what is done',
        description: 'Atomic: nothing is read first.',
      }),
      ...request,
      body: increment,
    },
    handler: async ({ identity, params, body }, reply) => {
      const report = { jobId: params.id, workerId: DEFAULT_WORKER_ID, ...body }
      return answer(reply, await jobs.heartbeat(identity, report))
    },
  })
  app.route({
    method: 'POST',
    url: '/jobs/:id/trainer-status',
    bodyLimit: TRAINER_BODY_LIMIT,
    config: { feature: 'progress.update' },
    schema: {
      ...reporting({
        id: 'reportTrainerStatus',
        summary: 'Report as a training framework does',
        description:
          'What Transformers and the SDK of Kubeflow Trainer send to `KUBEFLOW_TRAINER_SERVER_URL`: a heartbeat of the worker `default`.',
      }),
      ...request,
      body: trainerStatus,
    },
    handler: async ({ identity, params, body }, reply) => {
      const status = body.trainerStatus ?? {}
      const reportedAt = status.lastUpdatedTime ?? undefined
      const report = {
        jobId: params.id,
        workerId: DEFAULT_WORKER_ID,
        ...trainerReport(status),
        ...(reportedAt !== undefined && { reportedAt }),
      }
      return answer(reply, await jobs.heartbeat(identity, report))
    },
  })
  await app.register(bulkRoute, { jobs, loopTurns })
}
