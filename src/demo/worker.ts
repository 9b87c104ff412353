/**
 * One worker of the demo. It hashes its share of the files and reports through `@headway/worker`, which takes care of what a
 * worker owes the service: heartbeats in time, absolute counts, and the attempt.
 */
import { createNodeClient, RefusedError, settingsOf, type Client } from '../node-client/client.ts'
import { createWorker, StopError, type Job } from '../worker/headway.ts'
import { printable } from '../terminal/text.ts'
import { createFileHasher, createFingerprint } from './hash.ts'
import type { Assignment, Ending, Stop, Stopped, ToWorker } from './messages.ts'

const whyStopped = ({ signal }: Job): Stop => {
  if (!signal.aborted) return 'done'
  return (signal.reason as StopError).code === 'cancel_requested' ? 'cancelled' : 'superseded'
}

const hashFiles = async (job: Job, { folder, files }: Assignment): Promise<Stopped> => {
  const hashFile = createFileHasher(folder)
  const fingerprint = createFingerprint()
  const done = { files: 0, bytes: 0, errors: 0 }
  const report = (message: string): void =>
    job.report({ processedCount: done.files, message: printable(message), payload: { ...done, pid: process.pid } })

  job.report({ totalCount: files.length })
  for (const file of files) {
    if (job.signal.aborted) break
    report(file)
    const onBytes = (bytes: number): void => {
      done.bytes += bytes
      report(file)
    }
    try {
      fingerprint.add(await hashFile(file, onBytes, job.signal))
    } catch {
      // The worker was stopped in the middle of a file, which then does not count, or the file cannot be read.
      if (whyStopped(job) !== 'done') break
      done.errors++
    }
    done.files++
    report(file)
  }
  await job.leave()
  // A cancellation after the last file has stopped nothing.
  const why = done.files === files.length && whyStopped(job) === 'cancelled' ? 'done' : whyStopped(job)
  return { kind: 'stopped', why, result: { ...done, fingerprint: fingerprint.toHex() } }
}

const endJob = async (client: Client, { jobId, attempt }: Assignment, ending: Ending): Promise<void> => {
  try {
    if (ending.kind === 'complete') {
      await client.persist('POST', `/jobs/${jobId}/complete`, { body: { attempt, resultSummary: ending.result } })
    } else await client.persist('POST', `/jobs/${jobId}/cancelled`, { body: { attempt } })
  } catch (error) {
    // The job shows how it ended; this worker has nothing left to do.
    if (!(error instanceof RefusedError)) throw error
  }
}

/** Resolves with the next message of the process that started this one. */
const nextMessage = (): Promise<ToWorker> => new Promise(resolve => process.once('message', resolve))

const main = async (): Promise<void> => {
  const assignment = await nextMessage()
  if (assignment.kind !== 'assignment') throw new Error(`expected an assignment, not ${assignment.kind}`)
  const { url, jobId, attempt, workerId } = assignment
  const job = await createWorker({ url }).attach(jobId, { attempt, workerId })
  try {
    const stopped = await hashFiles(job, assignment)
    // Listens first, because the answer may come at once.
    const ending = nextMessage()
    process.send?.(stopped)
    const message = await ending
    if (message.kind !== 'assignment')
      await endJob(createNodeClient(settingsOf({ url }, process.env)), assignment, message)
  } catch (error) {
    await job.fail(error)
    process.exitCode = 1
  }
  process.disconnect()
}

// Ctrl-C reaches every process of the terminal. A worker stops because a heartbeat tells it to.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
// Without the process that started it, nobody waits for its work, and its job fails.
process.on('disconnect', () => process.exit())
await main()
