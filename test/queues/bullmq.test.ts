import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { Queue, UnrecoverableError, Worker, type Processor, type WorkerOptions } from 'bullmq'
import t, { type Test } from 'tap'
import { reportWorker } from '../../examples/bullmq/report-worker.ts'
import { makeDirectory } from '../helpers/process.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { shown } from './shown.ts'

const hasRedis = spawnSync('redis-server', ['--version']).status === 0
const skip = hasRedis ? false : 'NO REDIS: apt-get install -y redis-server, or the adapter for BullMQ is not tested'
// The runner shows files, and not the tests that they skip.
if (skip !== false) console.error(skip)

/** A Redis of its own on a unix socket, ended with `t`. */
const startRedis = async (t: Test): Promise<string> => {
  const directory = makeDirectory(t)
  const socket = join(directory, 'redis.sock')
  const args = ['--port', '0', '--unixsocket', socket, '--dir', directory, '--save', '', '--appendonly', 'no']
  const redis = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise(resolve => redis.once('close', resolve))
  t.teardown(() => {
    redis.kill('SIGKILL')
    return ended
  })
  let said = ''
  redis.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  await waitFor(() => said.includes('ready to accept connections'), { timeoutMs: 10_000 })
  return socket
}

const start = async (t: Test) => {
  const [service, path] = await Promise.all([startService(t, { HEARTBEAT_INTERVAL_MS: '150' }), startRedis(t)])
  const connection = { path, maxRetriesPerRequest: null }
  const queue = new Queue('imports', { connection })
  await queue.waitUntilReady()
  queue.on('error', () => undefined)
  t.teardown(() => queue.close())
  const work = async (processor: Processor, options: Partial<WorkerOptions> = {}) => {
    const worker = new Worker('imports', processor, { connection, ...options })
    worker.on('error', () => undefined)
    const errors: unknown[] = []
    const reporting = reportWorker(worker, {
      url: service.url,
      describe: ({ name, data }) => ({ name, meta: { file: (data as { file: string }).file } }),
      token: '',
      patienceMs: 1_000,
      onProblem: problem => void errors.push(problem),
    })
    t.teardown(() => worker.close(true))
    await worker.waitUntilReady()
    return { worker, reporting, errors }
  }
  return { service, queue, work }
}

t.test(
  'the jobs of a BullMQ worker are shown with their progress, their result and their failures',
  { skip },
  async t => {
    const { service, queue, work } = await start(t)
    let open: () => void = () => undefined
    const opened = new Promise<void>(resolve => (open = resolve))
    let runs = 0
    const { worker, reporting, errors } = await work(async (job, _token, signal) => {
      if (job.name === 'good') {
        await job.updateProgress(10)
        await job.updateProgress({ processedCount: 500, totalCount: 1_000, message: 'Row 500', unknown: 1 })
        await opened
        return { imported: 998 }
      }
      if (job.name === 'flaky' && ++runs === 1) throw new Error('The file is locked')
      if (job.name === 'endless') {
        await job.updateProgress('on and on')
        await new Promise(resolve => signal?.addEventListener('abort', resolve))
        throw new UnrecoverableError('stopped')
      }
      return undefined
    })
    await queue.add('good', { file: 'a.csv' })
    const running = await shown(service, job => job.processedCount === 500)
    t.match(running, {
      jobType: 'imports',
      name: 'good',
      status: 'running',
      progressPercent: 50,
      message: 'Row 500',
      meta: { file: 'a.csv' },
    })
    open()
    t.match(await shown(service, job => job.status === 'completed'), {
      id: running.id,
      resultSummary: { imported: 998 },
    })

    await queue.add('flaky', { file: 'b.csv' }, { attempts: 2 })
    const second = await shown(service, job => job.name === 'flaky' && job.status === 'completed')
    t.equal(second.attempt, 2, 'what BullMQ tries again is another attempt of the same job')
    t.same(await service.history(second.id), ['created', 'started', 'failed', 'retried', 'started', 'completed'])

    await queue.add('endless', { file: 'c.csv' })
    const endless = await shown(service, job => job.message === 'on and on')
    await service.call('POST', `/jobs/${endless.id}/cancel`)
    t.match(await shown(service, job => job.id === endless.id && job.finishedAt !== null), { status: 'cancelled' })
    await worker.close()
    await reporting.close()
    t.same(errors, [])
  },
)

t.test(
  'a job whose worker died gets another attempt with its next worker, and the work goes on while Headway is away',
  { skip },
  async t => {
    const { service, queue, work } = await start(t)
    const fast = { lockDuration: 500, stalledInterval: 300, skipLockRenewal: true }
    const doomed = await work(() => new Promise(() => undefined), fast)
    await queue.add('import', { file: 'a.csv' })
    const { id } = await shown(service, job => job.status === 'running')
    await doomed.reporting.close()
    await doomed.worker.close(true)
    const next = await work(async () => ({ done: true }), { ...fast, skipLockRenewal: false })
    const job = await shown(service, found => found.status === 'completed')
    t.match(job, { id, attempt: 2 })
    t.same(await service.history(id), ['created', 'started', 'failed', 'retried', 'started', 'completed'])

    await service.close()
    const completed = new Promise(resolve => next.worker.once('completed', resolve))
    await queue.add('import', { file: 'b.csv' })
    await completed
    t.pass('the work is done')
    await next.worker.close()
    await next.reporting.close()
    t.ok(next.errors.length > 0, 'and what could not be told is')
  },
)
