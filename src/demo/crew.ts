import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createFingerprint } from './hash.ts'
import type { Assignment, Ending, Result, Stopped } from './messages.ts'

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url))

export interface Crew {
  /** Resolves when all worker processes have ended, with the sum of their results. */
  gone: Promise<Result>
  /** Ends them at once. */
  kill: () => void
}

const sumUp = (results: readonly Result[]): Result => {
  const fingerprint = createFingerprint()
  const sum = { files: 0, bytes: 0, errors: 0 }
  for (const result of results) {
    sum.files += result.files
    sum.bytes += result.bytes
    sum.errors += result.errors
    fingerprint.add(Buffer.from(result.fingerprint, 'hex'))
  }
  return { ...sum, fingerprint: fingerprint.toHex() }
}

/** How the job ends when all workers have stopped; null when the workers may no longer decide it. */
const endingOf = (stopped: readonly Stopped[]): Ending | null => {
  const reasons = new Set(stopped.map(({ why }) => why))
  if (reasons.has('superseded')) return null
  if (reasons.has('cancelled')) return { kind: 'acknowledge-cancel' }
  return { kind: 'complete', result: sumUp(stopped.map(({ result }) => result)) }
}

/**
 * Starts a process for each assignment. The workers report for themselves. This process only notices which worker is the last
 * to stop, because that one ends the job for all. `onLost` is called for a worker that ended without a message; then no worker
 * ends the job.
 */
export const startCrew = (assignments: readonly Assignment[], onLost: (reason: string) => void): Crew => {
  const workers = new Map<ChildProcess, Stopped | null>()

  const onStopped = (worker: ChildProcess, stopped: Stopped): void => {
    workers.set(worker, stopped)
    const all = [...workers.values()].filter(one => one !== null)
    const ending = all.length === assignments.length ? endingOf(all) : null
    if (ending) worker.send(ending)
    else worker.disconnect()
  }

  const startWorker = async (assignment: Assignment): Promise<void> => {
    const worker = fork(WORKER, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    workers.set(worker, null)
    const exited = once(worker, 'exit')
    worker.on('message', message => onStopped(worker, message as Stopped))
    // A worker that has ended cannot be written to; its exit event follows.
    worker.on('error', () => undefined)
    worker.send(assignment)
    const [code, signal] = (await exited) as [number | null, NodeJS.Signals | null]
    if (!workers.get(worker)) onLost(`${assignment.workerId} ended without a word (${signal ?? `exit code ${code}`})`)
  }

  const running = assignments.map(startWorker)
  return {
    gone: Promise.all(running).then(() =>
      sumUp([...workers.values()].flatMap(stopped => (stopped ? [stopped.result] : []))),
    ),
    kill() {
      for (const worker of workers.keys()) worker.kill('SIGKILL')
    },
  }
}
