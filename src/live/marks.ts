/** The shortest time between two flushes of lifecycle changes of one feed. */
const LIFECYCLE_INTERVAL_MS = 50

/** A job that must be read again. */
export interface Mark {
  revision: number
  lifecycle: boolean
  /** The change was announced. Otherwise the reconciler found it, and it may be known already. */
  hinted: boolean
  /** When the job was first marked. */
  since: number
}

/** The jobs that one feed must read again, and when: lifecycle changes soon, progress once per interval. */
export class Marks {
  /** A mark stays until its document was delivered, so that a failed read loses nothing. */
  readonly #marks = new Map<string, Mark>()
  readonly #progressIntervalMs: number
  readonly #slackMs: number
  #lifecycles = 0
  #lifecycleAt = -Infinity
  #progressAt = -Infinity

  constructor(progressIntervalMs: number) {
    this.#progressIntervalMs = progressIntervalMs
    this.#slackMs = progressIntervalMs / 20
  }

  get size(): number {
    return this.#marks.size
  }

  /** When the oldest mark was made; Infinity without marks. */
  get oldest(): number {
    let oldest = Infinity
    for (const { since } of this.#marks.values()) if (since < oldest) oldest = since
    return oldest
  }

  get(jobId: string): Mark | undefined {
    return this.#marks.get(jobId)
  }

  add(jobId: string, { revision, lifecycle, hinted, since }: Mark): void {
    const mark = this.#marks.get(jobId)
    if (lifecycle && !mark?.lifecycle) this.#lifecycles++
    if (mark) {
      mark.revision = Math.max(mark.revision, revision)
      mark.lifecycle ||= lifecycle
      mark.hinted ||= hinted
    } else {
      this.#marks.set(jobId, { revision, lifecycle, hinted, since })
    }
  }

  delete(jobId: string): void {
    if (this.#marks.get(jobId)?.lifecycle) this.#lifecycles--
    this.#marks.delete(jobId)
  }

  /** When the next flush is due; Infinity without marks. */
  dueAt(): number {
    return Math.min(this.#lifecycleDueAt(), this.#progressDueAt())
  }

  /** The jobs to read now, with the marked revisions. Begins a new interval. */
  due(now: number): Map<string, number> {
    const lifecycleDueAt = this.#lifecycleDueAt()
    const progressDueAt = this.#progressDueAt()
    if (lifecycleDueAt <= now) this.#lifecycleAt = now
    // A timer that is a little late must not move the feed's schedule.
    if (progressDueAt <= now) this.#progressAt = now - progressDueAt < this.#slackMs ? progressDueAt : now
    const due = new Map<string, number>()
    for (const [jobId, mark] of this.#marks) {
      if ((mark.lifecycle ? lifecycleDueAt : progressDueAt) <= now) due.set(jobId, mark.revision)
    }
    return due
  }

  #lifecycleDueAt(): number {
    return this.#lifecycles > 0 ? this.#lifecycleAt + LIFECYCLE_INTERVAL_MS : Infinity
  }

  /** Rounded up to quarters of the interval, so that busy feeds are due at the same times and share a read. */
  #progressDueAt(): number {
    if (this.#marks.size === this.#lifecycles) return Infinity
    const quarter = this.#progressIntervalMs / 4
    return Math.ceil((this.#progressAt + this.#progressIntervalMs) / quarter) * quarter
  }
}
