import { z } from 'zod'
import { job } from './job.ts'

const partitionAlways = {
  id: true, name: true, status: true, progressPercent: true, processedCount: true, unit: true, attempt: true, cancellable: true,
  updatedAt: true, partitionIndex: true, revision: true,
} as const // prettier-ignore

const partitionWhereKnown = {
  totalCount: true, throughputPerSecond: true, etaSeconds: true, stage: true, message: true, liveness: true, advancedAt: true,
  cancelRequestedAt: true, startedAt: true, finishedAt: true, errorMessage: true, failureReason: true, deadline: true,
} as const // prettier-ignore

/** `BatchPartitions` of the contract. */
export const batchPartitions = z
  .object({
    items: z
      .array(job.pick({ ...partitionAlways, ...partitionWhereKnown }).partial(partitionWhereKnown))
      .describe('By index. What is null is left out.'),
    asOf: z.iso.datetime().describe('`since` of the next call.'),
  })
  .meta({ id: 'BatchPartitions' })
