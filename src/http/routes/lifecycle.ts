import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import type { Jobs } from '../../jobs/use-cases.ts'
import type { Feature } from '../../contract/tokens.ts'
import { completeJob, failJob, finish, job } from '../schemas/job.ts'
import { CHANGE_REFUSALS, operation } from '../schemas/operation.ts'
import type { ProblemCode } from '../problems.ts'
import { nothing } from '../schemas/primitives.ts'
import { deleteQuery, jobParams } from '../schemas/requests.ts'

const changed = (id: string, summary: string, description: string, refusals: ProblemCode[]) =>
  operation({
    id,
    summary,
    description,
    tag: 'lifecycle',
    answers: { 200: { description: 'The job. The same call again changes nothing.', schema: job } },
    refusals: [...CHANGE_REFUSALS, 'job_not_found', ...refusals],
  })

const byWorker: ProblemCode[] = ['already_finished', 'superseded', 'is_batch']
const update: { feature: Feature } = { feature: 'progress.update' }

/** Commands that a worker gives about its job. */
const workerRoutes: FastifyPluginAsyncZod<{ jobs: Jobs }> = async (app, { jobs }) => {
  const request = { params: jobParams, querystring: nothing }
  app.route({
    method: 'POST',
    url: '/jobs/:id/start',
    config: update,
    schema: {
      ...changed('startJob', 'Start a job', 'Optional: the first heartbeat starts a job as well.', byWorker),
      ...request,
      body: finish,
    },
    handler: ({ identity, params, body }) => jobs.start(identity, params.id, body),
  })
  app.route({
    method: 'POST',
    url: '/jobs/:id/complete',
    config: update,
    schema: {
      ...changed('completeJob', 'Complete a job', 'The work is done: percent 100, counts as reported.', byWorker),
      ...request,
      body: completeJob,
    },
    handler: ({ identity, params, body }) => jobs.complete(identity, params.id, body),
  })
  app.route({
    method: 'POST',
    url: '/jobs/:id/fail',
    config: update,
    schema: {
      ...changed('failJob', 'Fail a job', 'The work could not be done, and why.', byWorker),
      ...request,
      body: failJob,
    },
    handler: ({ identity, params, body }) => jobs.fail(identity, params.id, body),
  })
  app.route({
    method: 'POST',
    url: '/jobs/:id/cancelled',
    config: update,
    schema: {
      ...changed('acknowledgeCancel', 'Acknowledge a cancellation', 'The worker has stopped.', [
        ...byWorker,
        'not_cancellable',
      ]),
      ...request,
      body: finish,
    },
    handler: ({ identity, params, body }) => jobs.acknowledgeCancel(identity, params.id, body),
  })
}

/** Commands that a person gives about a job. */
const operatorRoutes: FastifyPluginAsyncZod<{ jobs: Jobs }> = async (app, { jobs }) => {
  const request = { params: jobParams, querystring: nothing, body: nothing }
  const cancelRefusals: ProblemCode[] = ['already_finished', 'not_cancellable']
  app.route({
    method: 'POST',
    url: '/jobs/:id/cancel',
    config: { feature: 'progress.cancel' },
    schema: {
      ...changed(
        'cancelJob',
        'Cancel a job',
        'Asks a running job to stop: the answer to its next heartbeat says so. A pending one is cancelled at once.',
        cancelRefusals,
      ),
      ...request,
    },
    handler: ({ identity, params }) => jobs.cancel(identity, params.id),
  })
  app.route({
    method: 'DELETE',
    url: '/jobs/:id',
    config: {
      feature: ({ query }) => ((query as { purge?: unknown }).purge === 'true' ? 'progress.manage' : 'progress.cancel'),
    },
    schema: {
      ...operation({
        id: 'deleteJob',
        summary: 'Cancel a job, or erase it',
        description: 'The same as `POST …/cancel`; with `purge=true` it erases a finished job.',
        tag: 'lifecycle',
        answers: {
          200: { description: 'The job, asked to stop or cancelled.', schema: job },
          204: { description: 'Erased.' },
        },
        refusals: [...CHANGE_REFUSALS, 'job_not_found', 'not_finished', 'is_partition', ...cancelRefusals],
      }),
      ...request,
      querystring: deleteQuery,
    },
    handler: async ({ identity, params, query }, reply) => {
      if (query.purge !== true) return jobs.cancel(identity, params.id)
      await jobs.purge(identity, params.id)
      return reply.code(204).send()
    },
  })
  app.route({
    method: 'POST',
    url: '/jobs/:id/retry',
    config: { feature: 'progress.create' },
    schema: {
      ...changed('retryJob', 'Retry a job', 'A failed or cancelled job becomes pending again, as its next attempt.', [
        'not_retryable',
        'already_finished',
      ]),
      ...request,
    },
    handler: ({ identity, params }) => jobs.retry(identity, params.id),
  })
}

/** Every command on a job: start, end, cancel, erase and retry. */
export const lifecycleRoutes: FastifyPluginAsyncZod<{ jobs: Jobs }> = async (app, options) => {
  await app.register(workerRoutes, options)
  await app.register(operatorRoutes, options)
}
