import { HeadwayError } from '../contract/errors.ts'
import type { Announce } from '../live/change.ts'
import type { JobChange } from '../contract/change.ts'
import type { Jobs } from './use-cases.ts'
import { scopeOf, type Identity } from './identity.ts'
import type { HeartbeatIntake } from './heartbeats/intake.ts'
import type { JobDocument } from '../contract/job.ts'
import type { Lifecycle } from '../contract/states.ts'
import { toJobColumns } from './job-columns.ts'
import { refusalOf, refusalOfCreation } from './refusals.ts'
import type { JobCommand } from './job-changes.ts'
import type { JobRepository } from './repository.ts'
import { withRefusals } from './with-refusals.ts'
import { refuseBadWindow } from './statistics/read.ts'

export interface UseCasesOptions {
  repository: JobRepository
  intake: HeartbeatIntake
  announce: Announce
  /** For jobs that name no timeout of their own. */
  defaultHeartbeatTimeoutSeconds: number
}

const notFound = (jobId: string) => refusalOf('job_not_found', jobId, null)

const EVENTS: Record<Exclude<JobCommand, 'cancel'>, Lifecycle> = {
  start: 'started',
  complete: 'completed',
  fail: 'failed',
  acknowledge_cancel: 'cancelled',
  retry: 'retried',
}

/** The lifecycle change that a command was. A batch that is cancelled may end as failed, by what its partitions did before. */
const eventOf = (command: JobCommand, { status, finishedAt }: JobDocument): Lifecycle =>
  command !== 'cancel' ? EVENTS[command] : finishedAt === null ? 'cancel_requested' : (status as Lifecycle)

/** The use cases over a repository and an intake. See `Jobs` for what each does. */
export const createUseCases = (options: UseCasesOptions): Jobs => {
  const { repository, intake, announce, defaultHeartbeatTimeoutSeconds } = options

  const tell = (
    { tenantId }: Identity,
    { id: jobId, jobType }: JobDocument,
    event: Lifecycle,
    revision: number,
    others: JobChange[],
  ): void => {
    announce([{ tenantId, jobId, jobType, revision, lifecycle: true, event }, ...others])
  }

  const change = (identity: Identity, jobId: string, command: JobCommand, input: object): Promise<JobDocument> =>
    withRefusals(async () => {
      const result = await repository.change(scopeOf(identity), jobId, command, identity.userId, input)
      if (result.code !== null || result.job === null) {
        throw refusalOf(result.code ?? 'job_not_found', jobId, result.status)
      }
      if (result.changed) {
        const { revision, job, others } = result
        tell(identity, job, eventOf(command, job), revision, others)
      }
      return result.job
    })

  return {
    create: (identity, input, idempotencyKey) =>
      withRefusals(async () => {
        if (identity.jobId !== null && identity.jobId !== input.parentJobId) {
          throw new HeadwayError('forbidden', 'This token is limited to one job and can create only its partitions.')
        }
        const newJob = toJobColumns(identity, input, idempotencyKey, defaultHeartbeatTimeoutSeconds)
        const scope = scopeOf(identity)
        // Twice: the job that held the key may be erased between the insert that met it and the look at it.
        for (let attempt = 1; attempt <= 2; attempt += 1) {
          const result = await repository.create(scope, newJob)
          if (!result) continue
          if (result.code === null) {
            const { job, others } = result
            tell(identity, job, 'created', job.revision, others)
            return { job, created: true }
          }
          if (result.code !== 'exists') throw refusalOfCreation(result, input.parentJobId)
          if (result.requestHash !== newJob.idempotency_hash) {
            // Keys are those of the organization: for a token of one job, the other job does not exist.
            const made = identity.jobId === null ? `job ${result.job.id}` : 'a job'
            throw new HeadwayError(
              'idempotency_key_reused',
              `This Idempotency-Key made ${made} from another request: use a new key for a new job.`,
            )
          }
          return { job: result.job, created: false }
        }
        throw new HeadwayError('database_unavailable', 'The job could not be stored: try again.', {
          retryAfterSeconds: 1,
        })
      }),

    get: (identity, jobId) =>
      withRefusals(async () => {
        const found = await repository.find(scopeOf(identity), jobId)
        if (!found) throw notFound(jobId)
        return { ...found.job, workers: found.workers }
      }),

    progress: (identity, jobId, include = []) =>
      withRefusals(async () => {
        const progress = await repository.findProgress(scopeOf(identity), jobId, include)
        if (!progress) throw notFound(jobId)
        return progress
      }),

    list: (identity, query) =>
      withRefusals(async () => {
        const found = await repository.list(scopeOf(identity), query)
        return { ...found, page: query.cursor === undefined ? query.page : null, pageSize: query.pageSize }
      }),

    active: (identity, recentSeconds) =>
      withRefusals(async () => {
        const scope = scopeOf(identity)
        // One after the other: a caller has one connection at a time.
        const active = await repository.listActive(scope)
        const recentlyCompleted = await repository.listRecentlyFinished(scope, recentSeconds)
        return { active, recentlyCompleted }
      }),

    events: (identity, jobId, query) =>
      withRefusals(async () => {
        const found = await repository.listEvents(scopeOf(identity), jobId, query)
        if (!found) throw notFound(jobId)
        return { ...found, page: query.page, pageSize: query.pageSize }
      }),

    partitions: (identity, batchId, since) =>
      withRefusals(async () => {
        const json = await repository.listPartitions(scopeOf(identity), batchId, since)
        if (json === null) throw notFound(batchId)
        return json
      }),

    stats: (identity, query) =>
      withRefusals(() => {
        refuseBadWindow(query)
        return repository.statistics(scopeOf(identity), query)
      }),

    // Without a promise of its own: this runs for every heartbeat.
    heartbeat: (identity, heartbeat) => intake.submit(scopeOf(identity), heartbeat),
    heartbeats: (identity, heartbeats) => intake.submitAll(scopeOf(identity), heartbeats),

    start: (identity, jobId, input) => change(identity, jobId, 'start', input),
    complete: (identity, jobId, input) => change(identity, jobId, 'complete', input),
    fail: (identity, jobId, input) => change(identity, jobId, 'fail', input),
    cancel: (identity, jobId) => change(identity, jobId, 'cancel', {}),
    acknowledgeCancel: (identity, jobId, input) => change(identity, jobId, 'acknowledge_cancel', input),
    retry: (identity, jobId) => change(identity, jobId, 'retry', {}),

    purge: (identity, jobId) =>
      withRefusals(async () => {
        const purged = await repository.purge(scopeOf(identity), jobId)
        if (!purged) throw notFound(jobId)
        if (purged.code !== null) throw refusalOf(purged.code, jobId, purged.status)
      }),
  }
}
