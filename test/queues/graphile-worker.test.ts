import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import t, { type Test } from 'tap'
import { reportTasks, type ReportingTask } from '../../examples/graphile-worker/report-tasks.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { aborted, queueUrl, sessionsEnded, shown } from './shown.ts'

const logger = new Logger(() => () => undefined)

/** Graphile Worker beside Headway, in the same database. */
const start = async (t: Test, tasks: Record<string, ReportingTask>) => {
  const service = await startService(t, { HEARTBEAT_INTERVAL_MS: '150' })
  const connectionString = queueUrl(service)
  const problems: unknown[] = []
  const reporting = reportTasks(tasks, {
    url: service.url,
    token: '',
    patienceMs: 1_000,
    describe: ({ payload }) => ({ meta: { payload } }),
    onProblem: problem => void problems.push(problem),
  })
  const utils = await makeWorkerUtils({ connectionString, logger })
  await utils.migrate()
  const runner = await run({
    connectionString,
    logger,
    taskList: reporting.taskList,
    concurrency: 2,
    pollInterval: 200,
    noHandleSignals: true,
  })
  let stopping: Promise<void> | null = null
  const stop = (): Promise<void> =>
    (stopping ??= (async () => {
      await runner.stop()
      await utils.release()
      await reporting.close()
      await sessionsEnded(service)
    })())
  t.teardown(stop)
  /** What failed is tried again at once, and not after its backoff. */
  const hurry = (id: string) => utils.rescheduleJobs([id], { runAt: new Date() })
  const isGone = async (id: string): Promise<boolean> =>
    await utils.withPgClient(async client => {
      const { rows } = await client.query('SELECT FROM graphile_worker.jobs WHERE id = $1', [id])
      return rows.length === 0
    })
  return { service, utils, stop, hurry, isGone, problems }
}

t.jobs = 3

t.test('the jobs of Graphile Worker are shown with their progress and their failures', { buffered: true }, async t => {
  let open: () => void = () => undefined
  const opened = new Promise<void>(resolve => (open = resolve))
  let runs = 0
  const { service, utils, stop, hurry, isGone, problems } = await start(t, {
    async import_rows(_payload, _helpers, report) {
      report(10)
      report({ processedCount: 500, totalCount: 1_000, message: 'Row 500' })
      await opened
    },
    async flaky() {
      if (++runs === 1) throw new Error('The file is locked')
      return Promise.resolve()
    },
    batch: (payload: number[]) =>
      Promise.resolve(payload.map(each => (each > 1 ? Promise.reject(new Error(`No ${each}`)) : undefined))),
  })
  await utils.addJob('import_rows', { file: 'a.csv' })
  const running = await shown(service, job => job.processedCount === 500)
  t.match(running, {
    jobType: 'import_rows',
    name: 'import_rows',
    status: 'running',
    progressPercent: 50,
    message: 'Row 500',
    meta: { payload: { file: 'a.csv' } },
  })
  open()
  await shown(service, job => job.id === running.id && job.status === 'completed')

  const flaky = await utils.addJob('flaky', {})
  await shown(service, job => job.name === 'flaky' && job.status === 'failed')
  await waitFor(async () => (await hurry(flaky.id)).length > 0)
  const second = await shown(service, job => job.name === 'flaky' && job.status === 'completed')
  t.equal(second.attempt, 2, 'what Graphile Worker tries again is another attempt of the same job')
  t.same(await service.history(second.id), ['created', 'started', 'failed', 'retried', 'started', 'completed'])
  await waitFor(() => isGone(flaky.id))

  await utils.addJob('batch', [1, 2])
  t.match(await shown(service, job => job.name === 'batch' && job.status === 'failed'), { errorMessage: /No 2/ })
  await stop()
  t.same(problems, [])
})

t.test(
  'cancelling a job of Graphile Worker in Headway aborts its signal, and it is not tried again',
  { buffered: true },
  async t => {
    const { service, utils, stop, isGone, problems } = await start(t, {
      async endless(_payload, { abortSignal, abortPromise }, report) {
        report('on and on')
        await aborted(abortSignal)
        await abortPromise
      },
    })
    const { id } = await utils.addJob('endless', {})
    const running = await shown(service, job => job.message === 'on and on')
    await service.call('POST', `/jobs/${running.id}/cancel`)
    const ended = await shown(service, job => job.id === running.id && job.finishedAt !== null)
    t.match(ended, { status: 'cancelled', attempt: 1 })
    await waitFor(() => isGone(id))
    await stop()
    t.same(problems, [])
  },
)

t.test('the work of Graphile Worker goes on while Headway is away', { buffered: true }, async t => {
  const { service, utils, stop, isGone, problems } = await start(t, {
    brief: (_payload, _helpers, report) => report(50),
  })
  await service.close()
  const { id } = await utils.addJob('brief', {})
  await waitFor(() => isGone(id), { timeoutMs: 15_000 })
  await stop()
  t.ok(problems.length > 0, 'what could not be told is')
})
