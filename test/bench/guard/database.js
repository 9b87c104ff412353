// What the hot statements do to the database: rows, pages, plans.
import pg from 'pg'
import { pino } from 'pino'
import { FUNCTIONS } from '../../../dist/database/functions.js'
import { createInTurn } from '../../../dist/jobs/in-turn.js'
import { createLiveSource } from '../../../dist/jobs/live-source.js'
import { createJobRepository } from '../../../dist/jobs/repository.js'
import { createRetention } from '../../../dist/jobs/retention.js'
import { createHeartbeatWrite } from '../../../dist/jobs/heartbeats/write.js'
import { createOutbox } from '../../../dist/webhooks/outbox.js'
import { entryOf, SCOPE } from './entry.js'
import { checkLists } from './lists.js'
import { RUNNING, TENANT, WEBHOOKS } from './world.js'

const log = pino({ level: 'silent' })

const FILTER = {
  tenantId: TENANT,
  organizationId: null,
  allOrganizations: true,
  scopeJobId: null,
  jobIds: [],
  jobType: null,
  parentJobId: null,
  topLevel: false,
}

const LIST = { sort: { key: 'createdAt', descending: true }, includeCompleted: false, page: 1, pageSize: 50 }

const LAST_FIRST = { key: 'finishedAt', descending: true }
/** The hot statements by name, each as a call that makes it. */
const callsOf = ({ database, jobIds }) => {
  const write = createHeartbeatWrite(database)
  const flush = async heartbeats => {
    const { failure, outcomes } = await write(heartbeats.map(entryOf), false)
    if (failure) throw failure.cause
    const refused = outcomes.find(outcome => outcome.kind !== 'written')
    if (refused) throw new Error(`A heartbeat was not written: ${JSON.stringify(refused)}`)
  }
  const source = createLiveSource(database, createInTurn(10).inTurn)
  const repository = createJobRepository(database)
  // The sweeper's statements as src/jobs/sweeper.ts makes them, by a process that is known to be healthy.
  const endAbandoned = `SELECT * FROM ${FUNCTIONS}.end_abandoned($1, $2, $3)`
  const markStalled = `SELECT * FROM ${FUNCTIONS}.mark_stalled($1, $2, $3, $4)`
  const judgeDeadlines = `SELECT * FROM ${FUNCTIONS}.judge_deadlines($1, $2)`
  const markUnusual = `SELECT * FROM ${FUNCTIONS}.mark_unusual($1)`
  const erase = createRetention({ database, retentionDays: 30, log })
  return {
    // Other jobs for each: what was rolled back still takes room on their pages, and HOT needs that.
    'flush of one': () => flush([{ jobId: jobIds[4000], processedCount: 10 }]),
    'flush of 1,000': () => flush(jobIds.slice(5000, 6000).map(jobId => ({ jobId, processedCount: 10 }))),
    'flush of bare heartbeats': () => flush(jobIds.slice(7000, 8000).map(jobId => ({ jobId }))),
    'flush of a job with 100 workers': () =>
      flush([{ jobId: jobIds.at(-1), workerId: 'worker-1', processedCount: 10 }]),
    'live documents': () => source.readDocuments(jobIds.slice(0, 1000)),
    snapshot: () => source.readSnapshot(FILTER, null, 1000),
    'snapshot of a resume': () => source.readSnapshot(FILTER, Date.now() - 900_000, 1000),
    reconcile: () => source.readRevisions([TENANT], []),
    'sweep of abandoned jobs': () => database.query('end_abandoned', endAbandoned, [TENANT, 60, 500]),
    'sweep of stalled jobs': () => database.query('mark_stalled', markStalled, [TENANT, 60, 30, 500]),
    'sweep of deadlines': () => database.query('judge_deadlines', judgeDeadlines, [60, 500]),
    'sweep of unusual jobs': () => database.query('mark_unusual', markUnusual, [500]),
    retention: () => erase(),
    'a job': () => repository.find(SCOPE, jobIds[0]),
    'its progress': () => repository.findProgress(SCOPE, jobIds[0]),
    'its history': () => repository.listEvents(SCOPE, jobIds[0], { page: 1, pageSize: 50 }),
    'the list of active jobs': () => repository.list(SCOPE, LIST),
    'the list of all jobs': () => repository.list(SCOPE, { ...LIST, includeCompleted: true }),
    'the list of jobs that finished lately': () =>
      repository.list(SCOPE, {
        ...LIST,
        completedSince: new Date(Date.now() - 3_600_000),
        sort: { key: 'finishedAt', descending: true },
      }),
    'the list of what one user has begun': () =>
      repository.list(SCOPE, { ...LIST, includeCompleted: true, startedByUserId: 'rare' }),
    'a search of errors that finds none': () =>
      repository.list(SCOPE, { ...LIST, sort: LAST_FIRST, status: ['failed'], topLevel: true, error: 'no such error' }),
    'active jobs': () => repository.listActive(SCOPE),
    'jobs that have just finished': () => repository.listRecentlyFinished(SCOPE, 30),
    statistics: () => repository.statistics(SCOPE, { since: new Date(Date.now() - 86_400_000) }),
    'statistics of 20 days': () => repository.statistics(SCOPE, { since: new Date(Date.now() - 20 * 86_400_000) }),
    'statistics of 20 days, by hour': () =>
      repository.statistics(SCOPE, { since: new Date(Date.now() - 20 * 86_400_000), bucket: 'hour' }),
    start: () => repository.change(SCOPE, jobIds[1], 'start', null, {}),
    complete: () => repository.change(SCOPE, jobIds[1], 'complete', null, {}),
    cancel: () => repository.change(SCOPE, jobIds[1], 'cancel', null, {}),
  }
}

/** What sends webhooks, by name. */
const webhookCallsOf = ({ database }) => {
  const outbox = createOutbox({ database, perWebhook: 8, leaseSeconds: 60 })
  const claim = free => outbox.claim({ free, taken: new Map() })
  const result = { outcome: 'failed', responseStatus: 500, error: 'no', delaySeconds: 5, pauseSeconds: 0 }
  return {
    'messages that become deliveries': () => outbox.queueDeliveries(),
    'progress for webhooks': () => outbox.queueProgress(),
    'claim of 200 deliveries': () => claim(200),
    'claim of one delivery, and its end': async () => outbox.finish((await claim(1))[0], result),
    'erasing of deliveries': () => outbox.erase(7),
  }
}

const NONE = { scans: 0, read: 0, written: 0, not_hot: 0, pages: 0 }
const of = (counts, table) => counts.tables[table] ?? NONE

const SCAN = /Seq Scan on (?:public\.)?(?:progress_jobs|job_progress|job_events|webhooks|webhook_\w+)\b/

/** The plan that scans: of a statement inside of a function, else of the one that was sent. */
const planOf = async ({ database }, { plans, statements }) => {
  const nested = plans.find(plan => SCAN.test(plan))
  if (nested !== undefined) return nested
  for (const { text, values } of statements) {
    const rows = await database.query(null, `EXPLAIN ${text}`, values).catch(() => [])
    const plan = rows.map(row => row['QUERY PLAN']).join('\n')
    if (SCAN.test(plan)) return plan
  }
  return 'no plan was caught'
}

/** A thousand characters of a plan show which part of it scans. */
const excerpt = plan => {
  const at = plan.search(SCAN)
  return plan.slice(Math.max(0, at - 400), at + 600)
}

const countScans = async (world, counted, tables) => {
  const details = []
  for (const [name, counts] of counted) {
    const scans = Object.entries(counts.tables).filter(([table, { scans }]) => tables.test(table) && scans > 0)
    for (const [table] of scans) details.push(`${name} scans ${table}:\n${excerpt(await planOf(world, counts))}`)
  }
  return { value: details.length, detail: details.join('\n\n') }
}

/** Of a plan that has to do what it was told not to, the rest is chosen by chance, and it is compiled where there is JIT. */
const countDisabled = counted => {
  const details = []
  for (const [name, { plans }] of counted) {
    const plan = plans.find(text => text.includes('Disabled: true'))
    if (plan !== undefined) details.push(`${name}:\n${plan.slice(0, 3000)}`)
  }
  return { value: details.length, detail: details.join('\n\n') }
}

const crowdOneJob = async ({ url, jobIds }) => {
  const client = new pg.Client(url)
  await client.connect()
  await client.query(
    `INSERT INTO public.job_progress (job_id, worker_id, attempt, heartbeat_at, created_at, rate_since, rate_at)
     SELECT $1, 'worker-' || n, 1, now(), now(), now(), now() FROM generate_series(1, 99) AS n`,
    [jobIds.at(-1)],
  )
  await client.end()
}

/** Counts of the database's work, and of statements. */
export const checkDatabase = async world => {
  await crowdOneJob(world)
  const calls = callsOf(world)
  // A connection plans a function's statements at the first call.
  await world.count(calls['flush of bare heartbeats'])
  const counted = new Map()
  for (const [name, call] of Object.entries(calls)) counted.set(name, await world.count(call))

  const lists = await checkLists(world)
  const webhooks = new Map()
  for (const [name, call] of Object.entries(webhookCallsOf(world))) webhooks.set(name, await world.count(call))

  const flush = counted.get('flush of 1,000')
  const per = (table, figure, by) => of(flush, table)[figure] / by
  const statementsOf = name => counted.get(name).statements.length
  const flushed = JSON.stringify(flush.statements[0].values)
  return [
    { name: 'statements for a flush of one heartbeat', value: statementsOf('flush of one') },
    { name: 'statements for a flush of 1,000 heartbeats', value: statementsOf('flush of 1,000') },
    { name: 'statements for GET of a job', value: statementsOf('a job') },
    { name: 'statements for GET of its progress', value: statementsOf('its progress') },
    { name: 'statements for a list', value: statementsOf('the list of active jobs') },
    { name: 'rows of progress_jobs written per heartbeat', value: per('progress_jobs', 'written', 1000) },
    { name: 'rows of job_progress written per heartbeat', value: per('job_progress', 'written', 1000) },
    { name: 'rows of job_events written per 1,000 heartbeats', value: per('job_events', 'written', 1) },
    {
      name: 'updates per 1,000 that are not HOT',
      value: (per('progress_jobs', 'not_hot', 1) + per('job_progress', 'not_hot', 1)) / 2,
    },
    { name: 'rows of progress_jobs read per heartbeat', value: per('progress_jobs', 'read', 1000) },
    { name: 'rows of job_progress read per heartbeat', value: per('job_progress', 'read', 1000) },
    { name: 'pages of progress_jobs touched per heartbeat', value: per('progress_jobs', 'pages', 1000) },
    { name: 'pages of job_progress touched per heartbeat', value: per('job_progress', 'pages', 1000) },
    {
      name: 'rows of job_progress read per heartbeat of a job with 100 workers',
      value: of(counted.get('flush of a job with 100 workers'), 'job_progress').read,
    },
    {
      name: 'rows of progress_jobs read per document',
      value: of(counted.get('live documents'), 'progress_jobs').read / 1000,
    },
    {
      name: 'rows of progress_jobs read per job by reconcile',
      value: of(counted.get('reconcile'), 'progress_jobs').read / RUNNING,
    },
    {
      name: 'rows of progress_jobs read by a sweep of abandoned jobs, per active job',
      value: of(counted.get('sweep of abandoned jobs'), 'progress_jobs').read / RUNNING,
    },
    {
      name: 'rows of progress_jobs read by a sweep of stalled jobs, per active job',
      value: of(counted.get('sweep of stalled jobs'), 'progress_jobs').read / RUNNING,
    },
    {
      name: 'rows of progress_jobs read by a sweep of unusual jobs, per active job',
      value: of(counted.get('sweep of unusual jobs'), 'progress_jobs').read / RUNNING,
    },
    {
      name: 'rows of progress_jobs read by a sweep of deadlines, where no job has one',
      value: of(counted.get('sweep of deadlines'), 'progress_jobs').read,
    },
    {
      name: 'rows of progress_jobs read by retention that has nothing to erase, per active job',
      value: of(counted.get('retention'), 'progress_jobs').read / RUNNING,
    },
    {
      name: 'rows of progress_jobs read by a list of 50',
      value: of(counted.get('active jobs'), 'progress_jobs').read,
    },
    {
      name: 'rows of progress_jobs read by a list of the 40 jobs that one user has begun',
      value: of(counted.get('the list of what one user has begun'), 'progress_jobs').read,
    },
    {
      name: 'rows of progress_jobs read by a search of errors that finds none',
      value: of(counted.get('a search of errors that finds none'), 'progress_jobs').read,
    },
    { name: 'statements for statistics', value: statementsOf('statistics of 20 days, by hour') },
    {
      name: 'pages of progress_jobs touched by statistics of 20 days that are rolled up',
      value: Math.max(
        of(counted.get('statistics of 20 days'), 'progress_jobs').pages,
        of(counted.get('statistics of 20 days, by hour'), 'progress_jobs').pages / 2,
      ),
    },
    { name: 'bytes of a heartbeat in the statement', value: flushed.length / 1000 },
    ...lists.findings,
    {
      name: 'sequential scans of the tables of jobs',
      ...(await countScans(world, [...counted, ...lists.counted], /job/)),
    },
    { name: 'sequential scans by what sends webhooks', ...(await countScans(world, webhooks, /./)) },
    { name: 'plans that cannot be as they should', ...countDisabled([...counted, ...lists.counted, ...webhooks]) },
    {
      name: 'rows of webhook_deliveries read by a claim of 200, per webhook',
      value: of(webhooks.get('claim of 200 deliveries'), 'webhook_deliveries').read / WEBHOOKS,
    },
    {
      name: 'rows of webhook_deliveries read by a claim of one, per webhook',
      value: of(webhooks.get('claim of one delivery, and its end'), 'webhook_deliveries').read / WEBHOOKS,
    },
  ]
}
