import { z } from 'zod'
import type { CreateJob } from '../../contract/requests.ts'
import { JOB_ID_EXAMPLE } from './examples.ts'
import { DUE_TWICE, dueFields, isDueOnce, MAX_META_BYTES, unit } from './job.ts'
import { count, decimal, flag, int32, integer, jsonObject, positiveInt32, shownText, text, uuid } from './primitives.ts'

/** A day: a job that reports more rarely does not report heartbeats. */
const MAX_TIMEOUT_SECONDS = 86_400

const MAX_STAGES = 32
const MAX_PARTITIONS = 1000

const DEFAULT_WEIGHT = 1

/**
 * With a smaller weight, a stage's share of the job could be too small for a double, and Postgres would refuse the heartbeat
 * that reaches it (22003, underflow).
 */
const SMALLEST_WEIGHT = 1e-6
const MAX_WEIGHT = 1e6

const newStage = z
  .strictObject(
    {
      name: shownText(100),
      weight: decimal(SMALLEST_WEIGHT, MAX_WEIGHT)
        .exactOptional()
        .describe('How much of the whole it is, compared with the other stages; 1 when absent.'),
    },
    'must be an object',
  )
  .meta({ id: 'NewStage' })

const mustBeStages = `must be a list of 1 to ${MAX_STAGES} stages`

const stages = z
  .array(newStage, mustBeStages)
  .min(1, mustBeStages)
  .max(MAX_STAGES, mustBeStages)
  .superRefine((list, context) => {
    const names = new Set<string>()
    for (const [index, { name }] of list.entries()) {
      if (names.has(name)) {
        context.addIssue({ code: 'custom', path: [index, 'name'], message: 'must not be the name of an earlier stage' })
      }
      names.add(name)
    }
  })
  .refine(
    list => list.length === 0 || list.some(({ weight = DEFAULT_WEIGHT }) => weight !== 0),
    'must not all have the weight 0',
  )

const newPartition = z
  .strictObject(
    {
      name: shownText(255).describe('For people.'),
      totalCount: count.nullable().exactOptional().describe('null or absent: unknown.'),
      meta: jsonObject(MAX_META_BYTES).exactOptional().describe('At most 16 KB as JSON.'),
    },
    'must be an object',
  )
  .meta({ id: 'NewPartition' })

const mustBePartitions = `must be a list of 1 to ${MAX_PARTITIONS} partitions`

const partitions = z
  .array(newPartition, mustBePartitions)
  .min(1, mustBePartitions)
  .max(MAX_PARTITIONS, mustBePartitions)

/** The structure of a job: partitions, a place in a batch, or stages. jobs/job-columns.ts decides which of them go together. */
const structure = {
  stages: stages
    .exactOptional()
    .describe(
      'The steps that the work goes through, in their order. Reports then name their `stage`, and counts are those of the ' +
        'current stage: a `totalCount` cannot be given here. `progressPercent` is over all stages, by their weights.',
    ),
  partitions: partitions
    .exactOptional()
    .describe(
      'Makes this job a batch, together with these partitions; the answer has their ids, in this order. They take job ' +
        'type, unit, stages, timeouts and the like from the batch. The whole body may have 256 KB: make partitions with ' +
        'large `meta` one by one, with `parentJobId`.',
    ),
  partitionCount: integer(1, MAX_PARTITIONS)
    .exactOptional()
    .describe(
      'Makes this job a batch, and says how many partitions it is going to have; as many as `partitions` when absent. It ' +
        'finishes by itself when so many have finished.',
    ),
  parentJobId: uuid.exactOptional().describe('Makes this job a partition of that batch.'),
  partitionIndex: integer(0, MAX_PARTITIONS - 1)
    .exactOptional()
    .describe('Of a partition: its place in the batch, from 0; the next free one when absent.'),
}

const hasType = ({ jobType, parentJobId }: { jobType?: unknown; parentJobId?: unknown }): boolean =>
  jobType !== undefined || parentJobId !== undefined

/** The body of `POST /jobs`. */
export const createJob = z
  .strictObject({
    jobType: shownText(100)
      .exactOptional()
      .describe(
        'What kind of work: history and statistics are kept by it. Only a partition (`parentJobId`) may leave it out: it ' +
          'has that of its batch.',
      ),
    name: shownText(255).describe('For people.'),
    description: text(0, 1000).nullable().exactOptional(),
    totalCount: count
      .nullable()
      .exactOptional()
      .describe(
        'null or absent: unknown. 0 is a job with nothing to do. Not with `stages`, whose totals come with the reports, and ' +
          'not of a batch, which has the sum of its partitions.',
      ),
    unit: unit.exactOptional(),
    ...structure,
    cancellable: flag.exactOptional(),
    meta: jsonObject(MAX_META_BYTES).exactOptional().describe('At most 16 KB as JSON.'),
    priority: int32.exactOptional().describe('Shown and sortable, without effect.'),
    heartbeatTimeoutSeconds: integer(0, MAX_TIMEOUT_SECONDS)
      .exactOptional()
      .describe('How long a running job may be silent before it is ended; 0: for ever.'),
    pendingTimeoutSeconds: positiveInt32
      .nullable()
      .exactOptional()
      .describe('How long it may wait to be started before it fails; null: for ever.'),
    ...dueFields,
  })
  .refine(isDueOnce, DUE_TWICE)
  .refine(hasType, {
    path: ['jobType'],
    error: 'is missing: only a partition, which has a parentJobId, may leave it out',
    // Also if other fields are bad, so that all of them are named at once.
    when: ({ value }) => typeof value === 'object' && value !== null,
  })
  .meta({
    id: 'CreateJob',
    examples: [
      { jobType: 'import:products', name: 'Importing products', totalCount: 1200, unit: 'rows', cancellable: true },
      {
        jobType: 'import:products',
        name: 'Importing products in stages',
        unit: 'rows',
        stages: [{ name: 'download' }, { name: 'import', weight: 8 }, { name: 'index' }],
      },
      {
        jobType: 'import:products',
        name: 'Importing products of two shops',
        unit: 'rows',
        partitions: [
          { name: 'Berlin', totalCount: 800 },
          { name: 'Paris', totalCount: 400 },
        ],
      },
      { parentJobId: JOB_ID_EXAMPLE, name: 'Berlin', partitionIndex: 0, totalCount: 800 },
    ],
  }) satisfies z.ZodType<CreateJob>
