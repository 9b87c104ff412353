/** How often a job that another session holds locked is tried again. */
const RETRY_MS = 250
/** How long the result of a try is believed. */
const KNOWN_MS = 2_000
/**
 * A job that stays locked for longer may be locked by this process's own flushes: one after the other locks the batch of a
 * partition.
 */
const LONG_MS = 1_000

interface Lock {
  /** When the lock was first met, and when to try again, by `performance.now()`. */
  sinceMs: number
  dueMs: number
  /** The row of the job or of its batch is locked. False: another row or a table that the report needs is locked. */
  ofJobRow: boolean
}

/**
 * Jobs that another session held locked at the last try, and when each is tried again. Times are those of `performance.now()`.
 */
export class LockedJobs {
  readonly #locks = new Map<string, Lock>()

  get size(): number {
    return this.#locks.size
  }

  has(jobId: string): boolean {
    return this.#locks.has(jobId)
  }

  /**
   * Notes that a flush that began at `begunMs` met the job locked. If the flush met another lock for one of the job's reports,
   * `ofJobRow` is false.
   */
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

  /**
   * Notes that a flush that began at `begunMs` has tried the job again. A lock that this flush has met stays: `add` has moved
   * its next try.
   */
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

  /** Whether any job is due; with `long`, whether one is due that has been locked for a second. */
  someDue({ long = false } = {}): boolean {
    const now = performance.now()
    for (const { sinceMs, dueMs } of this.#locks.values()) {
      if (dueMs <= now && (!long || sinceMs <= now - LONG_MS)) return true
    }
    return false
  }

  /** Whether the row of the job, or of its batch, was locked at a try in the last two seconds. */
  isRowLocked(jobId: string): boolean {
    const lock = this.#locks.get(jobId)
    return lock?.ofJobRow === true && lock.dueMs > performance.now() - KNOWN_MS
  }
}

/** How often to look for locked jobs that are due. */
export const LOOK_FOR_DUE_MS = RETRY_MS / 5
