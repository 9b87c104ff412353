import type { Entry } from './queue.ts'

/** Entries that are written in one statement. */
export interface Flush {
  entries: Entry[]
  /** The entries are of jobs that were locked at the last try. Jobs that are still locked are skipped. */
  retriesLocked: boolean
  /** The entries are those of tenants that have more to write than their part of a batch. */
  isOfCrowd: boolean
  begunMs: number
}

/**
 * The flushes that are being written, and their jobs. No job is in two of them, so that the reports of a job are written in
 * order.
 */
export class InFlight {
  readonly #flushes = new Set<Flush>()
  readonly #jobs = new Set<string>()

  get size(): number {
    return this.#flushes.size
  }

  /** How many of the flushes do not retry locked jobs. */
  get regular(): number {
    let regular = 0
    for (const { retriesLocked } of this.#flushes) if (!retriesLocked) regular += 1
    return regular
  }

  get hasCrowd(): boolean {
    for (const { isOfCrowd } of this.#flushes) if (isOfCrowd) return true
    return false
  }

  get retriesLocked(): boolean {
    return this.#flushes.size > this.regular
  }

  has(flush: Flush): boolean {
    return this.#flushes.has(flush)
  }

  hasJob(jobId: string): boolean {
    return this.#jobs.has(jobId)
  }

  add(flush: Flush): void {
    this.#flushes.add(flush)
    for (const { heartbeat } of flush.entries) this.#jobs.add(heartbeat.jobId)
  }

  remove(flush: Flush): void {
    this.#flushes.delete(flush)
    for (const { heartbeat } of flush.entries) this.#jobs.delete(heartbeat.jobId)
  }

  *entries(): Iterable<Entry> {
    for (const { entries } of this.#flushes) yield* entries
  }
}
