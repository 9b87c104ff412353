import { HEADER } from '../../contract/http.ts'
import { z } from 'zod'
import { PROGRESS_PARTS } from '../../contract/job.ts'
import { DEADLINES, JOB_EVENT_TYPES, JOB_STATUSES, LIVENESS } from '../../contract/states.ts'
import { instant, oneOf, queryFlag, queryInteger, queryList, text, uuid } from './primitives.ts'
import { JOB_ID_EXAMPLE } from './examples.ts'

const MAX_PAGE = 1_000_000
const MAX_STREAM_JOBS = 100

export const jobParams = z.object({ id: uuid.describe('The id of the job.').meta({ example: JOB_ID_EXAMPLE }) })

export const pageFields = (maxPageSize: number) => ({
  page: queryInteger(1, MAX_PAGE).default(1).describe('From 1.'),
  pageSize: queryInteger(1, maxPageSize).default(20),
})

export const eventsQuery = z.strictObject({
  type: queryList(oneOf(JOB_EVENT_TYPES), JOB_EVENT_TYPES.length)
    .exactOptional()
    .describe('Only entries of this type. May be repeated.'),
  ...pageFields(1000),
})

export const partitionsQuery = z.strictObject({
  since: instant
    .exactOptional()
    .describe('`asOf` of the answer before: those that have changed since, and some that had not.'),
})

const SORTS = [
  'createdAt',
  '-createdAt',
  'startedAt',
  '-startedAt',
  'finishedAt',
  '-finishedAt',
  'priority',
  '-priority',
  'partitionIndex',
  '-partitionIndex',
] as const

const filterFields = {
  jobType: text(1, 100).exactOptional(),
  parentJobId: uuid.exactOptional().describe('Only the partitions of this job.'),
  topLevel: queryFlag.exactOptional().describe('true: no partitions.'),
  organizationId: uuid.exactOptional(),
}

export const listQuery = z.strictObject({
  status: queryList(oneOf(JOB_STATUSES), JOB_STATUSES.length)
    .exactOptional()
    .describe('May be repeated. Wins over `includeCompleted`.'),
  liveness: oneOf(LIVENESS).exactOptional().describe('Only running jobs: those of this liveness.'),
  deadline: queryList(oneOf(DEADLINES), DEADLINES.length)
    .exactOptional()
    .describe('Only jobs with this `deadline`. May be repeated.'),
  unusual: queryFlag.exactOptional().describe('Whether they take, or took, longer than usual.'),
  ...filterFields,
  startedByUserId: text(1, 255)
    .exactOptional()
    .describe('Only jobs that this user has begun (`sub` of the token that made them).'),
  includeCompleted: queryFlag.default(false).describe('true: finished jobs as well.'),
  completedSince: instant
    .exactOptional()
    .describe('Only finished jobs: those that finished at or after this time. Active ones are not listed.'),
  completedBefore: instant.exactOptional().describe('Only finished jobs: those that finished before this time.'),
  error: text(1, 200)
    .exactOptional()
    .describe(
      'Only failed jobs whose `errorMessage` holds this text; `sort` must be by `finishedAt`. A page looks at 5,000 failed jobs, so ' +
        'it may have few or none and a `next`.',
    ),
  search: text(0, 100).exactOptional().describe('Jobs whose name holds this text.'),
  sort: oneOf(SORTS)
    .default('-createdAt')
    .describe('`-` for descending. `partitionIndex`: for the partitions of one batch.'),
  cursor: text(1, 200)
    .exactOptional()
    .describe('`next` of the page before, with the same filters and `sort`. `page` is then without effect.'),
  ...pageFields(100),
})

export const activeQuery = z.strictObject({
  recentSeconds: queryInteger(0, 3600).default(30).describe('How far back `recentlyCompleted` reaches.'),
})

export const readQuery = z.strictObject({
  until: oneOf(['finished'])
    .exactOptional()
    .describe('With `Prefer: wait=N`: wait until the job has finished, or N seconds.'),
})

export const progressQuery = readQuery.extend({
  include: z
    .preprocess(
      value => [value].flat().flatMap(each => (typeof each === 'string' ? each.split(',') : [each])),
      z.array(oneOf(PROGRESS_PARTS)).max(PROGRESS_PARTS.length, `may name at most ${PROGRESS_PARTS.length}`),
    )
    .exactOptional()
    .describe(
      'What else is wanted: `meta`, and `payload`, that of the worker that was heard of last. `message` is always there. ' +
        'Separated by commas, or repeated.',
    ),
})

export const deleteQuery = z.strictObject({
  purge: queryFlag
    .exactOptional()
    .describe(
      'true: erase a finished job instead. A batch goes with its partitions, and a partition only with its batch. Needs ' +
        '`progress.manage`.',
    ),
})

/** Any text: an id that the service does not know counts as none, as in the header. */
const lastEventId = z
  .preprocess(value => (typeof value === 'string' ? value : ''), z.string())
  .exactOptional()
  .describe(
    'For clients that cannot set headers; the header `Last-Event-ID` wins. A malformed one counts as none. ' +
      'It shows what was committed since; take it as it is.',
  )

/** The token; it is checked when the caller is identified. */
const accessToken = z
  .string('must be given once')
  .exactOptional()
  .describe('The token, for clients that cannot set headers; the header `Authorization` wins. Never logged.')

export const streamQuery = z.strictObject({
  jobId: queryList(uuid, MAX_STREAM_JOBS).exactOptional().describe('May be repeated, at most 100 times.'),
  ...filterFields,
  lastEventId,
  access_token: accessToken,
})

export const jobStreamQuery = z.strictObject({ lastEventId, access_token: accessToken })

const ifNoneMatch = z.string().exactOptional()

export const conditionalHeaders = z.looseObject({
  'if-none-match': ifNoneMatch.describe(
    'The `ETag` that the caller has: where nothing has changed, the answer is 304.',
  ),
})

export const readHeaders = z.looseObject({
  'if-none-match': ifNoneMatch.describe('The `ETag` that the caller has: the same revision is answered 304.'),
  prefer: z
    .string()
    .exactOptional()
    .describe('`wait=N` holds the answer for up to N (at most 60) seconds.')
    .meta({ example: 'wait=30' }),
})

export const createHeaders = z.looseObject({
  [HEADER.idempotencyKey]: text(1, 255)
    .exactOptional()
    .describe('Makes the call repeatable: the same key answers 200 with the job that the first call made.'),
})

export const streamHeaders = z.looseObject({
  [HEADER.lastEventId]: z
    .string()
    .exactOptional()
    .describe(
      'The last id seen: the snapshot then also holds jobs that finished since, so that no final state is missed.',
    ),
})
