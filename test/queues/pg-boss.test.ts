import { PgBoss } from 'pg-boss'
import t, { type Test } from 'tap'
import { reportBoss, type ReportingHandler, type ReportingWorkOptions } from '../../examples/pg-boss/report-boss.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { aborted, queueUrl, sessionsEnded, shown } from './shown.ts'

interface Import {
  file: string
}

/** pg-boss beside Headway, in the same database. */
const start = async (t: Test) => {
  const service = await startService(t, { HEARTBEAT_INTERVAL_MS: '150' })
  const boss = new PgBoss({ connectionString: queueUrl(service), supervise: false, schedule: false })
  const problems: unknown[] = []
  boss.on('error', problem => void problems.push(problem))
  await boss.start()
  const reporting = reportBoss(boss, {
    url: service.url,
    token: '',
    patienceMs: 1_000,
    describe: ({ data }) => ({ meta: { file: (data as Import).file } }),
    onProblem: problem => void problems.push(problem),
  })
  let stopping: Promise<unknown> | null = null
  const stop = (): Promise<unknown> =>
    (stopping ??= (async () => {
      await boss.stop()
      await reporting.close()
      await sessionsEnded(service)
    })())
  t.teardown(stop)
  await boss.createQueue('imports', { heartbeatSeconds: 10 })
  const work = (handler: ReportingHandler<Import, object | undefined>, options: ReportingWorkOptions = {}) =>
    reporting.work('imports', { pollingInterval: 0.5, ...options } as ReportingWorkOptions, handler)
  const stateOf = async (id: string | null) => (await boss.findJobs('imports', { id: id ?? '' }))[0]
  return { service, boss, stop, problems, work, stateOf }
}

t.jobs = 3

t.test(
  'the jobs of pg-boss are shown with their progress, their result and their failures',
  { buffered: true },
  async t => {
    const { service, boss, stop, problems, work, stateOf } = await start(t)
    let open: () => void = () => undefined
    const opened = new Promise<void>(resolve => (open = resolve))
    let runs = 0
    await work(
      async ({ data }, report) => {
        if (data.file === 'flaky.csv') {
          if (++runs === 1) throw new Error('The file is locked')
          return undefined
        }
        report(10)
        report({ processedCount: 500, totalCount: 1_000, message: 'Row 500' })
        await opened
        return { imported: 998 }
      },
      { batchSize: 2 },
    )
    const [good, flaky] = [
      await boss.send('imports', { file: 'good.csv' }),
      await boss.send('imports', { file: 'flaky.csv' }, { retryLimit: 1, retryDelay: 0 }),
    ]
    const running = await shown(service, job => job.processedCount === 500)
    t.match(running, {
      jobType: 'imports',
      name: 'imports',
      status: 'running',
      progressPercent: 50,
      message: 'Row 500',
      meta: { file: 'good.csv' },
    })
    open()
    t.match(await shown(service, job => job.id === running.id && job.status === 'completed'), {
      resultSummary: { imported: 998 },
    })
    const second = await shown(service, job => job.id !== running.id && job.status === 'completed')
    t.equal(second.attempt, 2, 'what pg-boss tries again is another attempt of the same job')
    t.same(await service.history(second.id), ['created', 'started', 'failed', 'retried', 'started', 'completed'])
    await waitFor(async () => (await stateOf(flaky))?.state === 'completed')
    t.match(await stateOf(good), { state: 'completed', output: { imported: 998 }, retryCount: 0 })
    t.match(await stateOf(flaky), { retryCount: 1 }, 'a job fails by itself, and not its batch')
    await stop()
    t.same(problems, [])
  },
)

t.test(
  'a job of pg-boss that is cancelled in Headway is cancelled in pg-boss, and the other way round',
  { buffered: true },
  async t => {
    const { service, boss, stop, problems, work, stateOf } = await start(t)
    const options = { heartbeatRefreshSeconds: 0.2 }
    await work(async ({ data, signal }, report) => {
      report(data.file)
      await aborted(signal)
      if (data.file === 'deaf.csv') return { imported: 1 }
      throw new Error('stopped')
    }, options)
    const first = await boss.send('imports', { file: 'a.csv' }, { retryLimit: 3, retryDelay: 0 })
    const ours = await shown(service, job => job.message === 'a.csv')
    await service.call('POST', `/jobs/${ours.id}/cancel`)
    t.match(await shown(service, job => job.id === ours.id && job.finishedAt !== null), {
      status: 'cancelled',
      attempt: 1,
    })
    t.match(await stateOf(first), { state: 'cancelled' })

    const deaf = await boss.send('imports', { file: 'deaf.csv' })
    const unheard = await shown(service, job => job.message === 'deaf.csv')
    await service.call('POST', `/jobs/${unheard.id}/cancel`)
    const end = await shown(service, job => job.id === unheard.id && job.finishedAt !== null)
    t.equal(end.status, 'cancelled', 'a handler that ends as if nothing had been')
    t.match(await stateOf(deaf), { state: 'cancelled' })

    const next = await boss.send('imports', { file: 'b.csv' }, { retryLimit: 3, retryDelay: 0 })
    const theirs = await shown(service, job => job.message === 'b.csv')
    await boss.cancel('imports', next ?? '')
    t.match(await shown(service, job => job.id === theirs.id && job.finishedAt !== null), { status: 'cancelled' })
    await stop()
    t.same(problems, [])
  },
)

t.test('the work of pg-boss goes on while Headway is away', { buffered: true }, async t => {
  const { service, boss, stop, problems, work, stateOf } = await start(t)
  await service.close()
  await work(async (_, report) => {
    report(50)
    return Promise.resolve({ done: true })
  })
  const id = await boss.send('imports', { file: 'a.csv' })
  await waitFor(async () => (await stateOf(id))?.state === 'completed', { timeoutMs: 15_000 })
  await stop()
  t.ok(problems.length > 0, 'and what could not be told is')
})
