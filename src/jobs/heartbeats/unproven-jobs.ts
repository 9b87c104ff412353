import type { Heartbeat } from '../../contract/heartbeat.ts'
import type { Scope } from '../identity.ts'

/** Partitions that are remembered for certain; up to twice as many. About 150 bytes each. */
const MAX_PROVEN = 20_000

/**
 * Reports of tokens that are limited to one job, for other jobs than that. They may be for its partitions, which only the
 * database knows, and are refused there if they are not. Until then each takes a place in the queue, and whoever has such a
 * token could fill the queue with ids that he made up. So of the jobs that the database has not yet accepted from such a token,
 * only so many reports may wait.
 */
export class UnprovenJobs {
  readonly #most: number
  readonly #waiting = new Map<string, number>()
  /** Two generations, the older one dropped when the younger is full: nothing ever walks through them. */
  #young = new Set<string>()
  #old = new Set<string>()

  constructor(most: number) {
    this.#most = most
  }

  /** Whether a report is of that kind. */
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

  /** One that was added has its answer. */
  remove(scope: Scope): void {
    const token = tokenOf(scope)
    const left = (this.#waiting.get(token) ?? 0) - 1
    if (left > 0) this.#waiting.set(token, left)
    else this.#waiting.delete(token)
  }

  /** The database took a report of it: it is a partition of the token's job, and will be. */
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
