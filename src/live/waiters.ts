import type { JobChange } from './change.ts'

interface Waiter {
  revision: number
  wake: () => void
}

/** Requests that hold their answer until a job changes. */
export class Waiters {
  readonly #byJob = new Map<string, Set<Waiter>>()

  get jobIds(): string[] {
    return [...this.#byJob.keys()]
  }

  /** Resolves with true when the job may have another revision, with false when `signal` aborts. */
  wait(jobId: string, revision: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false)
    return new Promise(resolve => {
      const waiters = this.#byJob.get(jobId) ?? new Set()
      const leave = (changed: boolean) => {
        signal.removeEventListener('abort', abort)
        waiters.delete(waiter)
        if (waiters.size === 0 && this.#byJob.get(jobId) === waiters) this.#byJob.delete(jobId)
        resolve(changed)
      }
      const abort = () => leave(false)
      const waiter = { revision, wake: () => leave(true) }
      this.#byJob.set(jobId, waiters.add(waiter))
      signal.addEventListener('abort', abort, { once: true })
    })
  }

  /** A hint may be old: its revision counts only if it is newer than what the waiter knows. */
  hint({ jobId, revision }: JobChange): void {
    for (const waiter of this.#byJob.get(jobId) ?? []) if (revision > waiter.revision) waiter.wake()
  }

  /** What the database holds counts whatever it is: undefined is a job that is gone. */
  compare(jobId: string, revision: number | undefined): void {
    for (const waiter of this.#byJob.get(jobId) ?? []) if (revision !== waiter.revision) waiter.wake()
  }

  /** Lets all go with "it may have changed": their routes read the job and answer. */
  wakeAll(): void {
    for (const waiters of this.#byJob.values()) for (const waiter of waiters) waiter.wake()
  }
}
