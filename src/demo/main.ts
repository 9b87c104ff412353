/**
 * `npm run demo [folder]`: four processes hash every file under a folder and report to a Headway service. This program draws
 * the service's live stream, and knows only what the service says. Exit code 0 completed, 130 cancelled, 1 failed.
 */
import { HEADER, BASE_PATH } from '../contract/http.ts'
import { randomUUID } from 'node:crypto'
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createNodeClient, RefusedError, settingsOf, type Client } from '../node-client/client.ts'
import { follow } from '../node-client/follow.ts'
import type { JobWithWorkers } from '../contract/job.ts'
import { isFinished } from '../contract/states.ts'
import { formatBytes, formatCount, formatSeconds } from '../terminal/numbers.ts'
import { startScreen } from '../terminal/screen.ts'
import { startCrew } from './crew.ts'
import { findFiles, shareOut, type FoundFiles } from './files.ts'
import type { Result } from './messages.ts'
import { findOrStartService, type DemoService } from './service.ts'
import { pictureOf, type View } from './view.ts'

const WORKERS = 4

/** npm passes on a signal that the terminal has sent to the whole process group, so it arrives twice within a millisecond. */
const SAME_SIGNAL_MS = 1_000

/** How often the workers' own numbers are read; the stream only has those of the job. */
const READ_WORKERS_MS = 500

/** How long a job that was ended elsewhere may take until it shows as finished. */
const LAST_EVENT_MS = 5_000

const EXIT_CODES: Partial<Record<string, number>> = { completed: 0, cancelled: 130 }

const say = (sentence: string): void => {
  process.stdout.write(`${sentence}\n`)
}

/** `signal` aborts at the first Ctrl-C; at a second one, `quit` is called. */
const listenForInterrupt = (quit: () => void): AbortSignal => {
  const interrupt = new AbortController()
  let firstAtMs = 0
  const onSignal = (): void => {
    if (!interrupt.signal.aborted) {
      firstAtMs = performance.now()
      interrupt.abort()
    } else if (performance.now() - firstAtMs > SAME_SIGNAL_MS) quit()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return interrupt.signal
}

const checkFolder = (folder: string): void => {
  const stat = statSync(folder, { throwIfNoEntry: false })
  if (!stat?.isDirectory()) throw new Error(`There is no folder ${folder}. Use: npm run demo [folder]`)
}

const createJob = (client: Client, folder: string, { files }: FoundFiles, signal: AbortSignal) =>
  client.persist<{ id: string; attempt: number }>('POST', '/jobs', {
    // Creating a job is the one call that must not be repeated without a key.
    headers: { [HEADER.idempotencyKey]: randomUUID() },
    signal,
    body: {
      jobType: 'demo:hash',
      name: `Hashing ${folder}`.slice(0, 255),
      totalCount: files.length,
      unit: 'files',
      cancellable: true,
    },
  })

/** Reads the workers while the job is followed. If a read fails, the next one follows. */
const watchWorkers = async (client: Client, view: View, jobId: string, signal: AbortSignal): Promise<void> => {
  while (!signal.aborted) {
    await client
      .call<JobWithWorkers>('GET', `/jobs/${jobId}`, { signal })
      .then(({ workers }) => (view.workers = workers))
      .catch(() => undefined)
    await pause(READ_WORKERS_MS, undefined, { signal }).catch(() => undefined)
  }
}

const tell = async (client: Client, path: string, body?: object): Promise<void> => {
  try {
    await client.persist('POST', path, body && { body })
  } catch (error) {
    // The job has ended meanwhile, so there is nothing to cancel or to fail.
    if (!(error instanceof RefusedError)) throw error
  }
}

interface Work {
  service: DemoService
  folder: string
  found: FoundFiles
  interrupt: AbortSignal
  onKillable: (kill: () => void) => void
}

/** Runs one job from its creation to its end, and shows it. */
const runJob = async ({
  service,
  folder,
  found,
  interrupt,
  onKillable,
}: Work): Promise<{ view: View; result: Result }> => {
  const client = createNodeClient(settingsOf({ url: service.url }, process.env))
  const { id: jobId, attempt } = await createJob(client, folder, found, interrupt)
  const totalBytes = found.files.reduce((sum, { size }) => sum + size, 0)
  const url = `${service.url}${BASE_PATH}/jobs/${jobId}`
  const view: View = {
    folder,
    url,
    totalBytes,
    job: null,
    jobReceivedAtMs: 0,
    workers: [],
    cancelling: false,
    connected: true,
  }

  const ended = new AbortController()
  const finished = new AbortController()
  const following = follow(
    client,
    new URLSearchParams({ jobId }),
    {
      onJob(job) {
        view.job = job
        view.jobReceivedAtMs = Date.now()
        if (isFinished(job)) finished.abort()
      },
      onConnection(open) {
        view.connected = open
      },
    },
    AbortSignal.any([finished.signal, ended.signal]),
  )
  const watching = watchWorkers(client, view, jobId, ended.signal)
  const screen = startScreen(pictureOf(view), process.stdout)

  const shares = shareOut(found.files, WORKERS)
  const crew = startCrew(
    shares.map((share, index) => ({
      kind: 'assignment',
      url: service.url,
      jobId,
      attempt,
      workerId: `worker-${index + 1}`,
      folder: resolve(folder),
      files: share.map(({ path }) => path).sort(),
    })),
    reason => void tell(client, `/jobs/${jobId}/fail`, { attempt, errorMessage: reason }),
  )
  onKillable(crew.kill)
  const cancel = (): void => {
    view.cancelling = true
    void tell(client, `/jobs/${jobId}/cancel`)
  }
  if (interrupt.aborted) cancel()
  else interrupt.addEventListener('abort', cancel)

  const result = await crew.gone
  await Promise.race([following, pause(LAST_EVENT_MS, undefined, { ref: false })])
  const { workers, ...job } = await client.persist<JobWithWorkers>('GET', `/jobs/${jobId}`)
  ended.abort()
  await Promise.all([following, watching])
  view.workers = workers
  view.job = job
  screen.end()
  return { view, result }
}

const report = (
  { view, result }: { view: View; result: Result },
  unreadable: number,
  seconds: number,
  own: boolean,
): void => {
  const { job, url } = view
  const errors = result.errors + unreadable
  const speed = `${formatCount(Math.round(result.files / seconds))} files/s, ${formatBytes(result.bytes / seconds)}/s`
  const files = `${formatCount(result.files)} ${result.files === 1 ? 'file' : 'files'}`
  say(
    `${job?.status ?? 'unknown'}: ${files}, ${formatBytes(result.bytes)} in ${formatSeconds(seconds)} (${speed})` +
      `${errors > 0 ? `, ${formatCount(errors)} could not be read` : ''}.`,
  )
  if (job?.errorMessage) say(job.errorMessage)
  if (job?.status === 'completed') say(`Fingerprint ${result.fingerprint}`)
  if (own) {
    const { pathname } = new URL(url)
    say('The demo has ended the service that it started. After `npm start` the job is at')
    say(`http://127.0.0.1:3000${pathname}`)
  } else say(url)
}

const main = async (): Promise<number> => {
  const folder = process.argv[2] ?? 'node_modules'
  checkFolder(folder)
  let kill = (): void => undefined
  const interrupt = listenForInterrupt(() => {
    kill()
    process.exit(130)
  })
  let service: DemoService | null = null
  try {
    service = await findOrStartService(interrupt)
    say(service.own ? `Started a service at ${service.url}.` : `Reporting to ${service.url}.`)
    say(`Looking for files in ${folder} …`)
    const found = await findFiles(folder, interrupt)
    const startedAtMs = performance.now()
    const done = await runJob({ service, folder, found, interrupt, onKillable: own => (kill = own) })
    report(done, found.unreadable, (performance.now() - startedAtMs) / 1000, service.own)
    const { job } = done.view
    if (!job || !isFinished(job)) throw new Error('All workers have stopped, but the job has not finished.')
    return EXIT_CODES[job.status] ?? 1
  } catch (error) {
    // Interrupted before there was a job to cancel.
    if (interrupt.aborted && error === interrupt.reason) return 130
    throw error
  } finally {
    await service?.end()
  }
}

// The reader of the output may go away (`| head`): the job goes on.
process.stdout.on('error', () => undefined)
process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  return 1
})
