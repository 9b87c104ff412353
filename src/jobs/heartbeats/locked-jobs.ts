/** How often a job that somebody else holds locked is tried again. */
const RETRY_MS = 250
/** A try that is older tells nothing any more. */
const KNOWN_MS = 2_000
/** A job that has been locked for longer may be so by our own flushes, which hold the batch of a partition in turns. */
const LONG_MS = 1_000

interface Lock {
  /** When it was met first, and when to try again; by `performance.now()`. */
  sinceMs: number
  dueMs: number
  /** It is the job's row that is locked, or its batch's, and not another row or table that a report for it takes. */
  ofJobRow: boolean
}

/** Jobs that somebody else held locked at the last try, and when each is tried again. Times are those of `performance.now()`. */
export class LockedJobs {
  readonly #locks = new Map<string, Lock>()

  get size(): number {
    return this.#locks.size
  }

  has(jobId: string): boolean {
    return this.#locks.has(jobId)
  }

  /** A flush that began at `begunMs` has met the job locked. Of its reports for one job, one that met another lock is enough. */
  add(jobId: string, begunMs: number, { ofJobRow }: { ofJobRow: boolean }): void {
    const known = this.#locks.get(jobId)
    const metAnother = known?.ofJobRow === false && known.dueMs > begunMs
    const now = performance.now()
    this.#locks.set(jobId, {
      sinceMs: known?.sinceMs ?? now,
      dueMs: now + RETRY_MS,
      ofJobRow: ofJobRow && !metAnother,
    })
  }

  /** A flush that began at `begunMs` has tried the job again. A lock that it met itself stays: that has moved its next try. */
  removeTried(jobId: string, begunMs: number): void {
    const lock = this.#locks.get(jobId)
    if (lock && lock.dueMs <= begunMs) this.#locks.delete(jobId)
  }

  clear(): void {
    this.#locks.clear()
  }

  isDue(jobId: string): boolean {
    const lock = this.#locks.get(jobId)
    return lock !== undefined && lock.dueMs <= performance.now()
  }

  /** Whether any is due; `long`: one that has been locked for a second. */
  someDue({ long = false } = {}): boolean {
    const now = performance.now()
    for (const { sinceMs, dueMs } of this.#locks.values()) {
      if (dueMs <= now && (!long || sinceMs <= now - LONG_MS)) return true
    }
    return false
  }

  /** Whether the row of the job, or of its batch, was locked at a try of the last two seconds. */
  isRowLocked(jobId: string): boolean {
    const lock = this.#locks.get(jobId)
    return lock?.ofJobRow === true && lock.dueMs > performance.now() - KNOWN_MS
  }
}

/** How often to look for locked jobs that are due. */
export const LOOK_FOR_DUE_MS = RETRY_MS / 5
