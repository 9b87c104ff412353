// Shows the jobs of a BullMQ worker in Headway. Copy this file; it needs nothing but Node 20 and BullMQ 5.60 or later.
//
//   const worker = new Worker('imports', processor, { connection })
//   const reporting = reportWorker(worker, { url: process.env.HEADWAY_URL, token: process.env.HEADWAY_TOKEN })
//   …
//   await worker.close()
//   await reporting.close()
//
// In the processor, job.updateProgress(42) shows 42 %, and job.updateProgress({ processedCount: 500, totalCount: 1200,
// message: 'Row 500' }) shows that. Who cancels the job in Headway aborts the signal that is the processor's third argument;
// end with an UnrecoverableError then, or BullMQ tries the job again.
import type { Job, Worker } from 'bullmq'

export interface ReportOptions {
  url?: string | undefined
  /** With the features create and update. */
  token?: string | undefined
  /** What Headway shows for a job, the same whenever it is asked: name, unit, totalCount, meta and the like. */
  describe?: (job: Job) => Record<string, unknown>
  /** Headway being away must not disturb the work: what went wrong is only told here. */
  onError?: (error: unknown) => void
  /** Between the tries of a call that must not be lost. */
  pausesMs?: number[]
}

interface Shown {
  id: string
  status: string
  attempt: number
}

/** What is known of a job while this worker has it. */
interface Active {
  shown: Shown | null
  /** The newest progress that Headway has not been told of. */
  latest: Record<string, unknown> | null
  cancelled: boolean
  timer: NodeJS.Timeout
}

const HEARTBEAT_MS = 5_000
const CALL_TIMEOUT_MS = 10_000
const PAUSES_MS = [500, 2_000, 8_000]
const MAX_MESSAGE = 500
const MAX_ERROR = 2_000
const MAX_STACK = 10_000
const REPORTED = ['processedCount', 'totalCount', 'progressPercent', 'unit', 'stage', 'message', 'etaSeconds']

/** BullMQ takes anything as progress: a number is a percent, a text a message, and an object may hold fields of a heartbeat. */
const reportOf = (progress: unknown): Record<string, unknown> => {
  if (typeof progress === 'number') return { progressPercent: Math.min(100, Math.max(0, Math.floor(progress))) }
  if (typeof progress === 'string') return { message: progress.slice(0, MAX_MESSAGE) }
  if (typeof progress !== 'object' || progress === null) return {}
  return Object.fromEntries(Object.entries(progress).filter(([name]) => REPORTED.includes(name)))
}

const resultOf = (result: unknown): object => {
  if (result === undefined || result === null) return {}
  const isObject = typeof result === 'object' && !Array.isArray(result)
  return { resultSummary: isObject ? result : { result } }
}

/** Tells Headway what becomes of the jobs of `worker`, until `close`, which waits for what is still to be told. */
export const reportWorker = (worker: Worker, options: ReportOptions = {}): { close: () => Promise<void> } => {
  const {
    url = 'http://127.0.0.1:3000',
    token,
    describe = (job: Job) => ({ name: job.name }),
    onError = console.warn,
    pausesMs = PAUSES_MS,
  } = options
  const jobs = `${url.replace(/\/$/, '')}/api/progress/jobs`
  const active = new Map<string, Active>()
  /** The last call for each job, for as long as it is under way. */
  const telling = new Map<string, Promise<unknown>>()

  /** Raises what Headway refuses. */
  const call = async (path: string, body: object, headers: Record<string, string> = {}): Promise<unknown> => {
    const response = await fetch(`${jobs}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }), ...headers },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    })
    if (response.ok) return response.json()
    throw Object.assign(new Error(`Headway answered ${response.status}: ${await response.text()}`), {
      status: response.status,
    })
  }

  /** Every call may be repeated: what has had its effect changes nothing. A refusal stays one. */
  const insist = async (path: string, body: object, headers?: Record<string, string>): Promise<unknown> => {
    for (const pauseMs of pausesMs) {
      try {
        return await call(path, body, headers)
      } catch (error) {
        const { status = 503 } = error as { status?: number }
        if (status < 500 && status !== 429) throw error
        await new Promise(resolve => setTimeout(resolve, pauseMs))
      }
    }
    return call(path, body, headers)
  }

  /** One call after the other for a job, also where BullMQ tries it again before the last run has been told to its end. */
  const next = (bullId: string, step: () => Promise<unknown>): void => {
    const told = (telling.get(bullId) ?? Promise.resolve())
      .then(step)
      .catch(onError)
      .finally(() => {
        if (telling.get(bullId) === told) telling.delete(bullId)
      })
    telling.set(bullId, told)
  }

  /** The same BullMQ job is the same job in Headway, by whichever process it is worked on: each further run is a retry. */
  const begin = async (job: Job): Promise<Shown> => {
    const fields = { jobType: worker.name, cancellable: true, ...describe(job) }
    const key = { 'idempotency-key': `bullmq ${worker.name} ${job.id ?? ''}` }
    let shown = (await insist('', fields, key)) as Shown
    if (shown.status === 'running') {
      // Whoever had it has died, or BullMQ took it for dead: what it may still say belongs to an attempt that is over.
      await insist(`/${shown.id}/fail`, { errorMessage: 'Its worker stalled, and BullMQ gave the job to another one' })
      shown = { ...shown, status: 'failed' }
    }
    if (shown.status === 'failed' || shown.status === 'cancelled')
      shown = (await insist(`/${shown.id}/retry`, {})) as Shown
    return (await insist(`/${shown.id}/start`, {})) as Shown
  }

  const heartbeat = async (bullId: string, entry: Active): Promise<void> => {
    if (!entry.shown) return
    const { id, attempt } = entry.shown
    const report = entry.latest ?? {}
    entry.latest = null
    const { cancelRequested } = (await call(`/${id}/heartbeat`, { attempt, ...report })) as { cancelRequested: boolean }
    if (!cancelRequested || entry.cancelled) return
    entry.cancelled = true
    worker.cancelJob(bullId, 'Cancelled in Headway')
  }

  /** Forgets a job, and tells its end as the last thing. */
  const end = (bullId: string | undefined, path: string, body: object): void => {
    const entry = active.get(bullId ?? '')
    if (!entry || bullId === undefined) return
    active.delete(bullId)
    clearInterval(entry.timer)
    next(bullId, async () => {
      if (!entry.shown) return
      if (entry.latest) await heartbeat(bullId, entry).catch(onError)
      await insist(`/${entry.shown.id}/${entry.cancelled && path === 'fail' ? 'cancelled' : path}`, {
        attempt: entry.shown.attempt,
        ...(entry.cancelled && path === 'fail' ? {} : body),
      })
    })
  }

  const onActive = (job: Job) => {
    const bullId = job.id ?? ''
    const entry: Active = {
      shown: null,
      latest: null,
      cancelled: false,
      timer: setInterval(() => {
        // Whatever is being told already is a sign of life.
        if (!telling.has(bullId)) next(bullId, () => heartbeat(bullId, entry))
      }, HEARTBEAT_MS),
    }
    active.set(bullId, entry)
    next(bullId, async () => (entry.shown = await begin(job)))
  }
  const onProgress = (job: Job, progress: unknown) => {
    const bullId = job.id ?? ''
    const entry = active.get(bullId)
    if (!entry) return
    const waits = entry.latest !== null
    entry.latest = { ...entry.latest, ...reportOf(progress) }
    // One that waits takes the newest along.
    if (!waits) next(bullId, () => heartbeat(bullId, entry))
  }
  const onCompleted = (job: Job, result: unknown) => end(job.id, 'complete', resultOf(result))
  const onFailed = (job: Job | undefined, error: Error) =>
    end(job?.id, 'fail', {
      errorMessage: (error.message || error.name).slice(0, MAX_ERROR),
      ...(error.stack && { errorStack: error.stack.slice(0, MAX_STACK) }),
    })
  /** Not ours any more: whoever gets it next says so, and until then Headway shows that nobody speaks for it. */
  const onStalled = (bullId: string) => {
    clearInterval(active.get(bullId)?.timer)
    active.delete(bullId)
  }

  worker.on('active', onActive)
  worker.on('progress', onProgress)
  worker.on('completed', onCompleted)
  worker.on('failed', onFailed)
  worker.on('stalled', onStalled)

  return {
    async close() {
      worker.off('active', onActive)
      worker.off('progress', onProgress)
      worker.off('completed', onCompleted)
      worker.off('failed', onFailed)
      worker.off('stalled', onStalled)
      for (const { timer } of active.values()) clearInterval(timer)
      active.clear()
      await Promise.all(telling.values())
    },
  }
}
