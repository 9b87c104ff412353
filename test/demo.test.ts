import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { render, type View } from '../src/demo/view.ts'
import type { ListedJob, Page } from '../src/contract/job.ts'
import { startService, type Service } from './helpers/service.ts'
import { mint, SECRET } from './helpers/tokens.ts'
import { waitFor } from './helpers/wait.ts'

const DEMO = fileURLToPath(new URL('../dist/demo/main.js', import.meta.url))

/** Five processes start, on machines that may be busy with other tests. */
const START = { timeoutMs: 30_000 }

const startDemo = (t: Test, service: Service, folder: string, environment: Record<string, string> = {}) => {
  const demo = spawn(process.execPath, [DEMO, folder], {
    env: { ...process.env, HEADWAY_URL: service.url, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => demo.kill('SIGKILL'))
  return {
    demo,
    output: text(demo.stdout),
    errors: text(demo.stderr),
    exited: once(demo, 'exit') as Promise<[number | null]>,
  }
}

const onlyJob = async (service: Service): Promise<string> => {
  const { body } = await service.call<Page<ListedJob>>('GET', '/jobs?includeCompleted=true')
  if (body.items.length !== 1) throw new Error(`there are ${body.items.length} jobs`)
  return body.items[0]!.id
}

/** The fingerprint that the demo must have, computed in one piece. */
const fingerprintOf = (files: Record<string, string>): string => {
  const sum = Buffer.alloc(32)
  for (const [path, content] of Object.entries(files)) {
    const digest = createHash('sha256').update(`${path}\0${content}`).digest()
    for (const [index, byte] of digest.entries()) sum[index]! ^= byte
  }
  return sum.toString('hex')
}

t.test('four workers hash every file, and the last one completes the job with the sums of all', async t => {
  const files = Object.fromEntries(
    Array.from({ length: 50 }, (_, index) => [`folder-${index % 7}/file-${index}.txt`, 'x'.repeat(index * 1000)]),
  )
  const folder = t.testdir()
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  const service = await startService(t)
  const { output, exited } = startDemo(t, service, folder)
  t.equal((await exited)[0], 0)

  const jobId = await onlyJob(service)
  const job = await service.job(jobId)
  t.match(job, { status: 'completed', progressPercent: 100, processedCount: 50, totalCount: 50, unit: 'files' })
  t.same(job.resultSummary, { files: 50, bytes: 1_225_000, errors: 0, fingerprint: fingerprintOf(files) })
  t.same(job.workers.map(({ workerId }) => workerId).sort(), ['worker-1', 'worker-2', 'worker-3', 'worker-4'])
  t.ok(
    job.workers.every(({ processedCount, totalCount }) => Number(processedCount) > 0 && processedCount === totalCount),
    'each has done its own share',
  )
  t.same(await service.history(jobId), ['created', 'started', 'completed'])
  const printed = await output
  t.match(printed, /^100 %, completed, 50 of 50 files, 1\.2 MB of 1\.2 MB/m)
  t.match(printed, /^completed: 50 files, 1\.2 MB in /m)
  t.match(printed, `${service.url}/api/progress/jobs/${jobId}`)
})

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

t.test('Ctrl-C cancels through the service, and the workers stop in the middle of a file', async t => {
  const folder = t.testdir()
  for (let index = 0; index < 8; index++) {
    // Sparse: they take no room, and longer to hash than the test waits.
    writeFileSync(join(folder, `huge-${index}`), '')
    truncateSync(join(folder, `huge-${index}`), 2 ** 36)
  }
  const service = await startService(t)
  const { demo, output, exited } = startDemo(t, service, folder)
  const jobId = await waitFor(() => onlyJob(service), START)
  const pids = await waitFor(async () => {
    const { workers } = await service.job(jobId)
    if (workers.length < 4) throw new Error('not all have reported')
    return workers.map(({ payload }) => (payload as { pid: number }).pid)
  }, START)
  t.ok(pids.every(isAlive))

  // As npm does it: the terminal sends one to all, and npm passes its own on.
  demo.kill('SIGINT')
  demo.kill('SIGINT')
  t.equal((await exited)[0], 130)
  const job = await service.job(jobId)
  t.match(job, { status: 'cancelled', processedCount: 0, totalCount: 8 })
  t.same(await service.history(jobId), ['created', 'started', 'cancel_requested', 'cancelled'])
  t.notOk(pids.some(isAlive), 'no worker is left')
  t.match(await output, /^cancelled: 0 files/m)
})

t.test('the demo sends HEADWAY_TOKEN to a service that asks for tokens', async t => {
  const folder = t.testdir({ file: 'content' })
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const token = await mint({ features: ['progress.view', 'progress.create', 'progress.update'] })
  const { exited } = startDemo(t, service, folder, { HEADWAY_TOKEN: token })
  t.equal((await exited)[0], 0)
  const job = await service.as(token).job(await onlyJob(service.as(token)))
  t.match(job, { status: 'completed', processedCount: 1 })
  const refused = startDemo(t, service, folder)
  t.equal((await refused.exited)[0], 1)
  t.match(await refused.errors, /This call needs a token/)
})

t.test('a job that another program fails ends the demo with code 1', async t => {
  const folder = t.testdir()
  writeFileSync(join(folder, 'huge'), '')
  truncateSync(join(folder, 'huge'), 2 ** 36)
  const service = await startService(t)
  const { output, exited } = startDemo(t, service, folder)
  const jobId = await waitFor(() => onlyJob(service), START)
  await service.call('POST', `/jobs/${jobId}/fail`, { errorMessage: 'the disk is on fire' })
  t.equal((await exited)[0], 1)
  t.match(await output, /^failed: .*\nthe disk is on fire$/m)
})

t.test('a demo that cannot work says why in one sentence', async t => {
  const tell = async (folder: string, environment: NodeJS.ProcessEnv) => {
    const demo = spawn(process.execPath, [DEMO, folder], { env: { ...process.env, ...environment } })
    const [said, [code]] = await Promise.all([text(demo.stderr), once(demo, 'exit') as Promise<[number]>])
    return { said, code }
  }
  t.match(await tell('/no/such/folder', {}), { code: 1, said: /^There is no folder \/no\/such\/folder\. .*\n$/ })
  t.match(await tell('.', { HEADWAY_URL: 'http://127.0.0.1:1' }), {
    code: 1,
    said: /^No Headway answers at HEADWAY_URL=http:\/\/127\.0\.0\.1:1: .*\n$/,
  })
})

const worker = (workerId: string, processedCount: number) => ({
  workerId,
  attempt: 1,
  processedCount,
  totalCount: 5974,
  unit: null,
  progressPercent: null,
  throughputPerSecond: null,
  etaSeconds: null,
  stage: null,
  message: null,
  payload: { bytes: processedCount * 9000 },
  advancedAt: null,
  liveness: 'ok' as const,
  heartbeatAt: '2026-01-31T12:00:00.000Z',
  createdAt: '2026-01-31T12:00:00.000Z',
})

const view: View = {
  folder: 'some/folder',
  url: 'http://127.0.0.1:3000/api/progress/jobs/0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55',
  totalBytes: 334_200_000,
  job: {
    id: '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55',
    status: 'running',
    progressPercent: 44,
    processedCount: 10_581,
    totalCount: 23_898,
    throughputPerSecond: 8472.4,
    etaSeconds: 90,
    message: 'package/lib/some-file.js',
    revision: 7,
  },
  jobReceivedAtMs: 0,
  workers: [worker('worker-2', 2482), worker('worker-1', 2311)],
  cancelling: false,
  connected: true,
}

const fromTo = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)

t.test('the picture fits into any terminal', async t => {
  for (const unicode of [true, false]) {
    const tooWide = fromTo(10, 130).filter(columns =>
      render(view, { columns, rows: 30, colour: false, unicode }, 0).some(line => Array.from(line).length > columns),
    )
    t.same(tooWide, [])
  }
  const tooHigh = fromTo(2, 30).filter(
    rows => render(view, { columns: 80, rows, colour: false, unicode: true }, 0).length >= rows,
  )
  t.same(tooHigh, [])
})

t.test('the picture shows the progress of the job and the time left as of now', async t => {
  const paper = { columns: 80, rows: 12, colour: false, unicode: false }
  const lines = render(view, paper, 10_000)
  t.match(lines[1], /^ {2}#{23}\.{31} +44 % {2}running$/)
  t.equal(lines[2], '  10,581 of 23,898 files - 8,472/s - 1 min 20 s left - 43.1 MB of 334.2 MB')
  t.match(lines[3], /^ {2}worker-1 {2}#{9}\.{15} +2,311\/5,974 +20\.8 MB$/)
  t.match(render({ ...view, connected: false }, paper, 0)[1], /connection lost$/)
  t.match(render({ ...view, cancelling: true }, paper, 0)[1], /cancelling$/)
  t.match(render({ ...view, job: null }, paper, 0)[1], / 0 % {2}starting$/)
})
