/**
 * One worker of the demo: hashes its share of the files and reports for itself. Everything a worker owes the service is here
 * and in `reporter.ts`: heartbeats in time, absolute counts, the attempt it works on, and stopping when it is told to.
 */
import { createClient, RefusedError, type Client } from './client.ts'
import { createFileHasher, createFingerprint } from './hash.ts'
import type { Assignment, Ending, Result, Stop, Stopped, ToWorker } from './messages.ts'
import { startReporter, type Reporter } from './reporter.ts'

/** Control characters in a file name would reach terminals; half a surrogate pair would be refused. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}]/gu
const MAX_MESSAGE_LENGTH = 200

const printable = (text: string): string => text.replaceAll(UNPRINTABLE, '?').slice(-MAX_MESSAGE_LENGTH)

const whyStopped = ({ stop }: Reporter): Stop => {
  if (!stop.aborted) return 'done'
  return stop.reason === 'cancelled' ? 'cancelled' : 'superseded'
}

const hashFiles = async (client: Client, assignment: Assignment): Promise<Stopped> => {
  const { folder, files, jobId, attempt, workerId } = assignment
  const hashFile = createFileHasher(folder)
  const fingerprint = createFingerprint()
  const done = { files: 0, bytes: 0, errors: 0 }
  let current = ''

  const reporter = startReporter({
    client,
    jobId,
    attempt,
    workerId,
    read: () => ({
      processedCount: done.files,
      totalCount: files.length,
      message: printable(current),
      payload: { bytes: done.bytes, errors: done.errors, pid: process.pid },
    }),
  })
  for (const file of files) {
    if (reporter.stop.aborted) break
    current = file
    try {
      fingerprint.add(await hashFile(file, bytes => (done.bytes += bytes), reporter.stop))
    } catch {
      // Stopped in the middle of a file, which then does not count; or the file cannot be read.
      if (whyStopped(reporter) !== 'done') break
      done.errors++
    }
    done.files++
  }
  await reporter.end()
  // A cancellation that came after the last file stopped nothing.
  const why = done.files === files.length && whyStopped(reporter) === 'cancelled' ? 'done' : whyStopped(reporter)
  const result: Result = { ...done, fingerprint: fingerprint.toHex() }
  return { kind: 'stopped', why, result }
}

const endJob = async (client: Client, { jobId, attempt }: Assignment, ending: Ending): Promise<void> => {
  try {
    if (ending.kind === 'complete') {
      await client.persist('POST', `/jobs/${jobId}/complete`, { body: { attempt, resultSummary: ending.result } })
    } else await client.persist('POST', `/jobs/${jobId}/cancelled`, { body: { attempt } })
  } catch (error) {
    // Whoever reads the job sees how it ended; there is nothing left to do for it here.
    if (!(error instanceof RefusedError)) throw error
  }
}

const failJob = async (client: Client, { jobId, attempt }: Assignment, error: unknown): Promise<void> => {
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const body = {
    attempt,
    errorMessage: printable(message) || 'a worker failed',
    ...(stack && { errorStack: stack.slice(0, 10_000) }),
  }
  await client.persist('POST', `/jobs/${jobId}/fail`, { body }).catch(() => undefined)
}

/** Resolves with the next message of the process that started this one. */
const nextMessage = (): Promise<ToWorker> => new Promise(resolve => process.once('message', resolve))

const main = async (): Promise<void> => {
  const assignment = await nextMessage()
  if (assignment.kind !== 'assignment') throw new Error(`expected an assignment, not ${assignment.kind}`)
  const client = createClient(assignment.url)
  try {
    const stopped = await hashFiles(client, assignment)
    // Listen first: the answer may come at once.
    const ending = nextMessage()
    process.send?.(stopped)
    const message = await ending
    if (message.kind !== 'assignment') await endJob(client, assignment, message)
  } catch (error) {
    await failJob(client, assignment, error)
    process.exitCode = 1
  }
  process.disconnect()
}

// Ctrl-C reaches every process of the terminal. A worker stops because a heartbeat told it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
// Without the process that started it nobody waits for its work. Its job gets no more heartbeats, and ends as stale.
process.on('disconnect', () => process.exit())
await main()
