import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { CallToolResult, ServerNotification, ServerRequest } from '@modelcontextprotocol/sdk/types.js'
import type { RequestHandlerExtra } from '@modelcontextprotocol/sdk/shared/protocol.js'
import type { FastifyBaseLogger } from 'fastify'
import { z } from 'zod'
import { HeadwayError } from '../../contract/errors.ts'
import type { Jobs } from '../../jobs/use-cases.ts'
import type { Identity } from '../../jobs/identity.ts'
import type { JobFilters } from '../../contract/requests.ts'
import type { Feature } from '../../contract/tokens.ts'
import { DEADLINES, JOB_EVENT_TYPES, JOB_STATUSES, LIFECYCLES, isFinished } from '../../contract/states.ts'
import { readShared, type WaitParts } from '../waiting.ts'
import { flag, integer, oneOf, text, uuid } from '../schemas/primitives.ts'
import {
  detailsOf,
  entryOf,
  historyPage,
  jobDetails,
  jobList,
  jobSummary,
  summaryOf,
  waitOutcome,
} from './documents.ts'
import { visible, visibleText } from './invisible.ts'
import { waitForJob } from './wait.ts'

export interface ToolParts extends WaitParts {
  jobs: Jobs
  identity: Identity
  log: FastifyBaseLogger
  /** Counts an answer as in flight. Raises `too_much_in_flight` and `overloaded`, unless `mustBeTold`. */
  countAnswer: (bytes: number, options: { mustBeTold: boolean }) => void
}

export type Extra = RequestHandlerExtra<ServerRequest, ServerNotification>

/** Longer than clients wait for an answer by default (60 s). Clients that heed progress notifications may wait this long. */
const MAX_WAIT_SECONDS = 300
const DEFAULT_WAIT_SECONDS = 45
const MAX_LISTED = 50
const MAX_HISTORY = 200

const jobId = uuid.describe('The id of the job, a UUID.')

/** The arguments of a tool. An unknown name is refused, so that a misspelt one is not lost silently. */
const argumentsOf = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.strictObject(shape, {
    error: issue => {
      if (issue.code !== 'unrecognized_keys') return undefined
      const unknown = issue.keys.map(key => visibleText(key.slice(0, 100))).slice(0, 10)
      return `There is no argument ${unknown.join(', ')}: this tool takes ${Object.keys(shape).join(', ')}`
    },
  })

// Made once: each call has its own server, and making the schemas costs more than using them.
const LIST = argumentsOf({
  status: z.array(oneOf(JOB_STATUSES)).optional().describe('Only jobs with one of these.'),
  deadline: z
    .array(oneOf(DEADLINES))
    .optional()
    .describe('Only jobs with one of these. at_risk and overdue: those that are late, or will be.'),
  unusual: flag.optional().describe('true: only jobs that take longer than usual.'),
  includeFinished: flag.optional().describe('true: jobs that have finished as well. Without effect beside status.'),
  jobType: text(1, 100).optional().describe('Only jobs of this type.'),
  search: text(1, 100).optional().describe('Only jobs whose name holds this text.'),
  parentJobId: uuid.optional().describe('The parts of this batch.'),
  limit: integer(1, MAX_LISTED).default(20),
  cursor: text(1, 200).optional().describe('`next` of an earlier answer, with the same filters.'),
  startedBy: text(1, 255).optional().describe('Only jobs that the user with this id has begun.'),
})
/** The filters of the list that the arguments stand for. An empty list of values is none. */
const filtersOf = (input: Omit<z.infer<typeof LIST>, 'limit' | 'cursor'>): JobFilters => {
  const { includeFinished = false, startedBy, parentJobId, ...same } = input
  const filters = {
    ...same,
    includeCompleted: includeFinished,
    startedByUserId: startedBy,
    parentJobId,
    topLevel: parentJobId === undefined ? true : undefined,
  }
  return Object.fromEntries(
    Object.entries(filters).filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0)),
  )
}

const ONE = argumentsOf({ jobId })
const WAIT = argumentsOf({ jobId, timeoutSeconds: integer(1, MAX_WAIT_SECONDS).default(DEFAULT_WAIT_SECONDS) })
const HISTORY = argumentsOf({
  jobId,
  includeProgress: flag.optional().describe('true: samples of its progress and changes of stage as well.'),
  page: integer(1, 1_000_000).default(1),
  limit: integer(1, MAX_HISTORY).default(50),
})

const READ_ONLY = { readOnlyHint: true, openWorldHint: false }

/** The answer of a tool, and how many bytes of memory it takes. */
interface MadeResult {
  result: CallToolResult
  bytes: number
}

const refused = (code: string, sentence: string): CallToolResult => ({
  isError: true,
  content: [{ type: 'text', text: visibleText(`${code}: ${sentence}`) }],
})

/** Registers the tools for one caller. A call that REST would refuse is refused with the same code, as an error of the tool. */
export const registerTools = (server: McpServer, parts: ToolParts): void => {
  const { jobs, identity, log, countAnswer, sharedRead } = parts
  /**
   * The answer of a tool: the document, and the same as JSON text for clients that only take text. All invisible characters are
   * written out. Nothing is told in sentences, because a name or message that somebody wrote could then look like a sentence of
   * the service, or like another job.
   */
  const made = (document: Record<string, unknown>): MadeResult => {
    const structuredContent = visible(document)
    const text = JSON.stringify(structuredContent)
    return { result: { content: [{ type: 'text', text }], structuredContent }, bytes: 2 * Buffer.byteLength(text) }
  }
  /** Answers this caller with a result that other callers may share. */
  const answered = ({ result, bytes }: MadeResult, { mustBeTold = false } = {}): CallToolResult => {
    countAnswer(bytes, { mustBeTold })
    return result
  }
  const done = (document: Record<string, unknown>, options?: { mustBeTold: boolean }): CallToolResult =>
    answered(made(document), options)
  const attempt = async (feature: Feature, call: () => Promise<CallToolResult>): Promise<CallToolResult> => {
    try {
      if (!identity.features.has(feature))
        throw new HeadwayError('forbidden', `This tool needs the feature ${feature}.`)
      return await call()
    } catch (error) {
      if (error instanceof HeadwayError) return refused(error.code, error.message)
      log.error({ err: error }, 'a tool failed')
      return refused('internal_error', 'Something went wrong in the service: see its log.')
    }
  }

  server.registerTool(
    'list_jobs',
    {
      title: 'List jobs',
      description:
        'Lists long-running jobs, newest first: by default those that are pending or running. Parts of a batch are left out; ' +
        'give parentJobId to see them.',
      inputSchema: LIST,
      outputSchema: jobList,
      annotations: READ_ONLY,
    },
    ({ limit, cursor, ...filters }) =>
      attempt('progress.view', async () => {
        const { items, total, next } = await jobs.list(identity, {
          ...filtersOf(filters),
          sort: { key: 'createdAt', descending: true },
          page: 1,
          pageSize: limit,
          ...(cursor !== undefined && { cursor }),
        })
        return done({ jobs: items.map(summaryOf), total, next })
      }),
  )

  server.registerTool(
    'get_job',
    {
      title: 'Get a job',
      description: 'Tells how far a job is, when it will be done, and what it has left as result or error.',
      inputSchema: ONE,
      outputSchema: jobDetails,
      annotations: READ_ONLY,
    },
    input => attempt('progress.view', async () => done(detailsOf(await jobs.get(identity, input.jobId)))),
  )

  server.registerTool(
    'wait_for_job',
    {
      title: 'Wait for a job',
      description:
        'Waits until a job has finished, or until timeoutSeconds have passed, and answers at that moment. Call it again when ' +
        '`finished` is false. Reports progress on the way to clients that ask for it.',
      inputSchema: WAIT,
      outputSchema: waitOutcome,
      annotations: READ_ONLY,
    },
    (input, extra) =>
      attempt('progress.view', async () => {
        await waitForJob(parts, input, extra)
        // Callers who waited for the same job ask for it at the same time, so they share the read.
        const shared = await readShared(
          sharedRead,
          identity,
          { shape: 'details', jobId: input.jobId },
          async reader => {
            const job = detailsOf(await jobs.get(reader, input.jobId))
            return made({ finished: isFinished(job), job })
          },
        )
        return answered(shared)
      }),
  )

  server.registerTool(
    'cancel_job',
    {
      title: 'Cancel a job',
      description:
        'Asks a running job to stop, which its worker does when it next reports; a pending job is cancelled at once. Only jobs ' +
        'that are cancellable. What was done is not undone.',
      inputSchema: ONE,
      outputSchema: jobSummary,
      annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: false },
    },
    input =>
      attempt('progress.cancel', async () =>
        done(summaryOf(await jobs.cancel(identity, input.jobId)), { mustBeTold: true }),
      ),
  )

  server.registerTool(
    'job_history',
    {
      title: "A job's history",
      description:
        'Lists what happened to a job, oldest first: created, started, stalled, failed, retried and so on, with times and ' +
        'who caused it.',
      inputSchema: HISTORY,
      outputSchema: historyPage,
      annotations: READ_ONLY,
    },
    ({ includeProgress = false, page, limit, ...input }) =>
      attempt('progress.view', async () => {
        const type = includeProgress ? JOB_EVENT_TYPES : LIFECYCLES
        const { items, total } = await jobs.events(identity, input.jobId, { type: [...type], page, pageSize: limit })
        return done({ events: items.map(entryOf), total })
      }),
  )
}
