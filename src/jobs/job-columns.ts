import { createHash } from 'node:crypto'
import { HeadwayError } from '../contract/errors.ts'
import type { CreateJob } from '../contract/requests.ts'
import type { Identity } from './identity.ts'
import type { JsonObject, Stage } from '../contract/job.ts'

/**
 * The columns of a new job by name, as headway.create_job reads them. A column that is null takes its default, or its parent's
 * value.
 */
export interface JobColumns {
  tenant_id: string
  organization_id: string | null
  job_type: string | null
  name: string
  description: string | null
  total_count: number | null
  unit: string | null
  stages: Stage[] | null
  cancellable: boolean | null
  meta: JsonObject
  priority: number | null
  heartbeat_timeout_seconds: number | null
  pending_timeout_seconds: number | null
  finish_by: string | null
  finish_within_seconds: number | null
  started_by_user_id: string | null
  parent_job_id: string | null
  partition_index: number | null
  partition_count: number | null
  /** Not null: the job is a batch. */
  children: JsonObject | null
  idempotency_key: string | null
  idempotency_hash: string | null
  /** The partitions with which a batch is created. */
  partitions: { name: string; total_count: number | null; meta: JsonObject }[]
  /** The unit and stages that the partitions of a batch get, because the batch itself has none. */
  partition_unit: string | null
  partition_stages: Stage[] | null
}

/**
 * The same hash for two requests that mean the same: the order of an object's properties does not matter, the order of an array
 * does. Properties that the request leaves out are left out of the hash, so that neither a changed default nor a later version
 * changes it.
 */
const hashOf = (request: CreateJob): string => {
  const given = Object.entries(request).filter(([, value]) => value !== null && value !== undefined)
  const canonical = JSON.stringify(Object.fromEntries(given), (_key, value: unknown) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  )
  return createHash('sha256').update(canonical).digest('hex')
}

/** Stages with weights that add up to 1. */
const normalise = (stages: CreateJob['stages']): Stage[] | null => {
  if (!stages) return null
  const sum = stages.reduce((total, { weight = 1 }) => total + weight, 0)
  return stages.map(({ name, weight = 1 }) => ({ name, weight: weight / sum }))
}

const isBatch = ({ partitions, partitionCount, parentJobId }: CreateJob): boolean =>
  partitions !== undefined || (partitionCount !== undefined && parentJobId === undefined)

/** Why the fields of a request do not go together, or null. */
const refusalOfCombination = (input: CreateJob): HeadwayError | null => {
  const { partitions, partitionCount, parentJobId, partitionIndex } = input
  const hasTotal = typeof input.totalCount === 'number'
  if (input.stages && hasTotal) {
    return new HeadwayError(
      'invalid_stages',
      'With stages each stage has a total of its own: leave out totalCount, and send it with the first heartbeat of a stage.',
    )
  }
  const invalid = (message: string) => new HeadwayError('invalid_partition', message)
  if (parentJobId !== undefined && partitions) return invalid('A partition cannot have partitions of its own.')
  if (partitionIndex !== undefined && parentJobId === undefined) {
    return invalid('partitionIndex is the place of a partition: it needs the parentJobId of its batch.')
  }
  if (partitions && partitionCount !== undefined && partitionCount < partitions.length) {
    return invalid(`partitionCount (${partitionCount}) is less than the number of partitions (${partitions.length}).`)
  }
  if (isBatch(input) && hasTotal) {
    return invalid('The total of a batch is the sum of those of its partitions: give each of them its totalCount.')
  }
  if (isBatch(input) && !partitions && (input.stages || input.unit)) {
    return invalid(
      'A batch has the unit of its partitions, and no stages: give both to the partitions when you create them.',
    )
  }
  return null
}

/**
 * The columns that a request asks to store. Raises `invalid_partition` or `invalid_stages` where its fields do not go together.
 */
export const toJobColumns = (
  identity: Identity,
  input: CreateJob,
  idempotencyKey: string | null,
  defaultHeartbeatTimeoutSeconds: number,
): JobColumns => {
  const refusal = refusalOfCombination(input)
  if (refusal) throw refusal
  const isPartition = input.parentJobId !== undefined
  const batch = isBatch(input)
  const stages = normalise(input.stages)
  return {
    tenant_id: identity.tenantId,
    organization_id: identity.organizationId,
    job_type: input.jobType ?? null,
    name: input.name,
    description: input.description ?? null,
    total_count: input.totalCount ?? null,
    unit: batch ? null : (input.unit ?? null),
    stages: batch ? null : stages,
    cancellable: input.cancellable ?? null,
    meta: input.meta ?? {},
    priority: input.priority ?? null,
    heartbeat_timeout_seconds: input.heartbeatTimeoutSeconds ?? (isPartition ? null : defaultHeartbeatTimeoutSeconds),
    pending_timeout_seconds: input.pendingTimeoutSeconds ?? null,
    finish_by: input.finishBy ?? null,
    finish_within_seconds: input.finishWithinSeconds ?? null,
    started_by_user_id: identity.userId,
    parent_job_id: input.parentJobId ?? null,
    partition_index: input.partitionIndex ?? null,
    partition_count: input.partitionCount ?? input.partitions?.length ?? null,
    children: batch ? {} : null,
    idempotency_key: idempotencyKey,
    idempotency_hash: idempotencyKey === null ? null : hashOf(input),
    partitions: (input.partitions ?? []).map(({ name, totalCount, meta }) => ({
      name,
      total_count: totalCount ?? null,
      meta: meta ?? {},
    })),
    partition_unit: input.unit ?? null,
    partition_stages: stages,
  }
}
