import type { CreatedJob, JobDocument, ListedJob, ProgressDocument, WorkerDocument } from '../../contract/job.ts'
import type { DurableAnswer } from '../../contract/heartbeat.ts'

export const JOB_ID_EXAMPLE = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'

/** The job that every example of the documentation shows: one in the middle of its work. */
const listedJobExample: ListedJob = {
  id: JOB_ID_EXAMPLE,
  jobType: 'import:products',
  name: 'Importing products',
  description: null,
  status: 'running',
  progressPercent: 41,
  processedCount: 500,
  totalCount: 1200,
  remainingCount: 700,
  unit: 'rows',
  throughputPerSecond: 12.5,
  etaSeconds: 56,
  etaSource: 'rate',
  etaLowSeconds: 41,
  etaHighSeconds: 77,
  stage: null,
  stages: null,
  message: 'Row 500 of 1200',
  liveness: 'ok',
  advancedAt: '2026-01-31T12:00:40.000Z',
  workerCount: 1,
  startedByUserId: null,
  cancelledByUserId: null,
  startedAt: '2026-01-31T12:00:00.000Z',
  heartbeatAt: '2026-01-31T12:00:40.000Z',
  finishedAt: null,
  createdAt: '2026-01-31T11:59:58.000Z',
  updatedAt: '2026-01-31T12:00:40.000Z',
  resultSummary: null,
  errorMessage: null,
  failureReason: null,
  meta: {},
  cancellable: true,
  cancelRequestedAt: null,
  priority: 0,
  attempt: 1,
  heartbeatTimeoutSeconds: 60,
  pendingTimeoutSeconds: null,
  parentJobId: null,
  partitionIndex: null,
  partitionCount: null,
  children: null,
  tenantId: '00000000-0000-0000-0000-000000000000',
  organizationId: null,
  finishBy: null,
  finishWithinSeconds: null,
  deadline: null,
  usualSeconds: 90,
  unusual: false,
  revision: 12,
}

export const jobExample: JobDocument = { ...listedJobExample, errorStack: null }

/** A batch as the answer to its creation shows it: with its partitions, before any of them has started. */
export const batchExample: CreatedJob = {
  ...jobExample,
  name: 'Importing products of two shops',
  status: 'pending',
  progressPercent: 0,
  processedCount: 0,
  remainingCount: 1200,
  throughputPerSecond: null,
  etaSeconds: null,
  etaSource: null,
  etaLowSeconds: null,
  etaHighSeconds: null,
  message: null,
  liveness: null,
  advancedAt: null,
  workerCount: 0,
  startedAt: null,
  heartbeatAt: null,
  updatedAt: jobExample.createdAt,
  partitionCount: 2,
  usualSeconds: null,
  children: {
    total: 2,
    pending: 2,
    running: 0,
    stalled: 0,
    completed: 0,
    failed: 0,
    cancelled: 0,
    current: [],
    errors: [],
    failures: [],
  },
  revision: 1,
  partitions: [
    { id: '0197a3c2-5b1f-7a10-8c3e-6d1f0b2a4c71', name: 'Berlin', partitionIndex: 0 },
    { id: '0197a3c2-5b1f-7a11-9b27-3e5c8d7f1a02', name: 'Paris', partitionIndex: 1 },
  ],
}

export const workerExample: WorkerDocument = {
  workerId: 'default',
  attempt: 1,
  processedCount: 500,
  totalCount: null,
  unit: null,
  progressPercent: null,
  throughputPerSecond: 12.5,
  etaSeconds: null,
  stage: null,
  message: 'Row 500 of 1200',
  payload: null,
  liveness: 'ok',
  advancedAt: '2026-01-31T12:00:40.000Z',
  heartbeatAt: '2026-01-31T12:00:40.000Z',
  createdAt: '2026-01-31T12:00:00.000Z',
}

export const progressExample: ProgressDocument = {
  id: JOB_ID_EXAMPLE,
  status: 'running',
  progressPercent: 41,
  processedCount: 500,
  totalCount: 1200,
  remainingCount: 700,
  unit: 'rows',
  stage: null,
  message: 'Row 500 of 1200',
  throughputPerSecond: 12.5,
  etaSeconds: 56,
  etaSource: 'rate',
  etaLowSeconds: 41,
  etaHighSeconds: 77,
  liveness: 'ok',
  attempt: 1,
  updatedAt: '2026-01-31T12:00:40.000Z',
  finishBy: null,
  deadline: null,
  usualSeconds: 90,
  unusual: false,
  revision: 12,
}

export const eventsExample = {
  items: [
    { id: '1', type: 'created', at: '2026-01-31T11:59:58.000Z', actor: null, attempt: 1, data: {} },
    { id: '2', type: 'started', at: '2026-01-31T12:00:00.000Z', actor: null, attempt: 1, data: {} },
    {
      id: '3',
      type: 'progress',
      at: '2026-01-31T12:00:08.000Z',
      actor: null,
      attempt: 1,
      data: { progressPercent: 8, processedCount: 100, totalCount: 1200, throughputPerSecond: 12.5, etaSeconds: 88 },
    },
  ],
  page: 1,
  pageSize: 20,
  total: 3,
}

export const heartbeatAnswerExample: DurableAnswer = {
  jobId: JOB_ID_EXAMPLE,
  workerId: 'default',
  status: 'running',
  cancelRequested: false,
  progressPercent: 41,
  revision: 12,
  applied: true,
  heartbeatIntervalMs: 5000,
  durable: true,
}

const liveExample = `{"id":"${JOB_ID_EXAMPLE}","jobType":"import:products","name":"Importing products","status":"running","progressPercent":41,"processedCount":500,"totalCount":1200,"unit":"rows","liveness":"ok","workerCount":1,"attempt":1,"priority":0,"cancellable":true,"updatedAt":"2026-01-31T12:00:40.000Z","tenantId":"00000000-0000-0000-0000-000000000000","revision":12}`

export const sseExample = `retry: 2140

event: snapshot
id: 1769860839000.0
data: {"jobs":[]}

event: progress.job.updated
id: 1769860840000.12
data: ${liveExample}

`

export const ndjsonExample = `{"event":"snapshot","id":"1769860839000.0","data":{"jobs":[]}}
{"event":"progress.job.updated","id":"1769860840000.12","data":${liveExample}}
`

export const textExample =
  '\r\x1b[2KImporting products [######..........]  41 % 500 of 1,200 rows, 294/s, 3 s left' +
  '\r\x1b[2KImporting products [################] 100 % completed, 1,200 of 1,200 rows\ncompleted after 12 s\n'
