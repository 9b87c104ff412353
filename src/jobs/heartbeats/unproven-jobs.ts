import type { Heartbeat } from '../../contract/heartbeat.ts'
import type { Scope } from '../identity.ts'

/** The last 20,000 to 40,000 proven partitions are remembered, at about 150 bytes each. */
const MAX_PROVEN = 20_000

/**
 * Limits the reports that a token of one job sends for other jobs. These may be partitions of the token's job. Only the
 * database knows, and it refuses them if they are not. Until then each report takes a place in the queue, so anybody with such
 * a token could fill the queue with invented ids. Therefore only so many of a token's reports may wait for jobs that the
 * database has not yet accepted from it.
 */
export class UnprovenJobs {
  readonly #most: number
  readonly #waiting = new Map<string, number>()
  /** Two generations. The older one is dropped when the younger one is full, so the sets are never iterated. */
  #young = new Set<string>()
  #old = new Set<string>()

  constructor(most: number) {
    this.#most = most
  }

  /** Whether a report is for a job that has not been proven to be a partition of the token's job. */
  concerns({ tenantId, jobId }: Scope, heartbeat: Heartbeat): boolean {
    if (jobId === null || jobId === heartbeat.jobId) return false
    const pair = pairOf(tenantId, jobId, heartbeat.jobId)
    return !this.#young.has(pair) && !this.#old.has(pair)
  }

  hasRoom(scope: Scope, added: number): boolean {
    return (this.#waiting.get(tokenOf(scope)) ?? 0) + added <= this.#most
  }

  add(scope: Scope): void {
    const token = tokenOf(scope)
    this.#waiting.set(token, (this.#waiting.get(token) ?? 0) + 1)
  }

  /** Notes that a report that was added has its answer. */
  remove(scope: Scope): void {
    const token = tokenOf(scope)
    const left = (this.#waiting.get(token) ?? 0) - 1
    if (left > 0) this.#waiting.set(token, left)
    else this.#waiting.delete(token)
  }

  /**
   * Notes that the database accepted a report for the job, which proves that the job is a partition of the token's job. That
   * never changes.
   */
  prove({ tenantId, jobId }: Scope, heartbeat: Heartbeat): void {
    if (jobId === null || jobId === heartbeat.jobId) return
    if (this.#young.size >= MAX_PROVEN) {
      this.#old = this.#young
      this.#young = new Set()
    }
    this.#young.add(pairOf(tenantId, jobId, heartbeat.jobId))
  }
}

const tokenOf = ({ tenantId, jobId }: Scope): string => `${tenantId}/${jobId}`
const pairOf = (tenantId: string, jobId: string, reported: string): string => `${tenantId}/${jobId}/${reported}`
