import { Line } from './line.ts'
import { Recent } from './recent.ts'

/** Whom a statement is run for. */
export interface Party {
  tenantId: string
  /** null: everyone is the same one. */
  caller: string | null
  /**
   * For a read that others may share, `caller` being whoever asked first: it stands in a line of its own, which is bounded by how
   * many answers and streams may be held, so that nobody is refused for the many calls of another.
   */
  isShared?: boolean
}

/** In which line of its tenant a party stands. No caller's name begins like that of what is shared. */
const lineOf = ({ caller, isShared = false }: Party): string | null => (isShared ? `shared ${caller}` : caller)

/** Why no turn was given: the party itself has too many in line, or the line did not move in time. */
export class NoTurnError extends Error {
  override readonly name = 'NoTurnError'
  readonly reason: 'line' | 'patience'
  constructor(reason: 'line' | 'patience') {
    super(reason === 'line' ? 'Too many calls of this caller wait' : 'No turn came in time')
    this.reason = reason
  }
}

export interface TurnsOptions {
  /** Turns that are taken at once. */
  size: number
  /** Of one tenant, while no other has asked for any lately. Less than `size`: whoever comes next must not wait for a statement to end. */
  perTenantAlone: number
  /** Of one tenant, while there are others. */
  perTenant: number
  /** Calls of one identity that may wait, but for what is shared. */
  maxWaitingPerCaller: number
  patienceMs: number
  /** Milliseconds of a clock that nobody sets. */
  now?: () => number
}

/** Gives a turn back, once. */
type EndTurn = () => void

interface CallerTurns {
  running: number
  line: Line<EndTurn>
}

interface TenantTurns {
  running: number
  /** Whoever was served last stands last. */
  callers: Map<string | null, CallerTurns>
}

/**
 * Shares out a bounded number of turns, one to each tenant that waits, and among those of a tenant one to each identity. Nobody has
 * more than a part of them, so that there is one left for whoever comes next: a turn that was given cannot be taken back.
 */
export class Turns {
  readonly #options: Required<TurnsOptions>
  /** Whoever was served last stands last. */
  readonly #tenants = new Map<string, TenantTurns>()
  readonly #recentTenants = new Recent()
  #running = 0

  constructor({ now = () => performance.now(), ...options }: TurnsOptions) {
    this.#options = { ...options, now }
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    let waiting = 0
    for (const { callers } of this.#tenants.values()) for (const { line } of callers.values()) waiting += line.length
    return waiting
  }

  /** Resolves with the function that gives the turn back. Raises `NoTurnError`. */
  take(party: Party): Promise<EndTurn> {
    const { tenantId } = party
    const caller = lineOf(party)
    const { maxWaitingPerCaller, patienceMs, now } = this.#options
    this.#recentTenants.add(tenantId, now())
    const tenant = this.#tenants.get(tenantId) ?? { running: 0, callers: new Map<string | null, CallerTurns>() }
    const own = tenant.callers.get(caller) ?? { running: 0, line: new Line<EndTurn>() }
    if (!party.isShared && own.line.length >= maxWaitingPerCaller) return Promise.reject(new NoTurnError('line'))
    this.#tenants.set(tenantId, tenant)
    tenant.callers.set(caller, own)
    // Whoever waits although there is a turn has as many as may be.
    if (this.#mayTake(tenantId, tenant, caller, own)) return Promise.resolve(this.#begin(tenantId, tenant, caller, own))
    return own.line.wait(patienceMs, () => {
      this.#forget(tenantId, tenant, caller, own)
      return new NoTurnError('patience')
    })
  }

  #begin(tenantId: string, tenant: TenantTurns, caller: string | null, own: CallerTurns): EndTurn {
    this.#running += 1
    tenant.running += 1
    own.running += 1
    let ended = false
    return () => {
      if (ended) return
      ended = true
      this.#running -= 1
      tenant.running -= 1
      own.running -= 1
      // Behind those who came while it ran.
      this.#putLast(tenantId, tenant, caller, own)
      this.#forget(tenantId, tenant, caller, own)
      this.#serve()
    }
  }

  #forget(tenantId: string, tenant: TenantTurns, caller: string | null, own: CallerTurns): void {
    if (own.running === 0 && own.line.length === 0) tenant.callers.delete(caller)
    if (tenant.callers.size === 0) this.#tenants.delete(tenantId)
  }

  #putLast(tenantId: string, tenant: TenantTurns, caller: string | null, own: CallerTurns): void {
    this.#tenants.delete(tenantId)
    this.#tenants.set(tenantId, tenant)
    tenant.callers.delete(caller)
    tenant.callers.set(caller, own)
  }

  #mayTake(tenantId: string, tenant: TenantTurns, caller: string | null, own: CallerTurns): boolean {
    const { size, perTenant, perTenantAlone } = this.#options
    if (this.#running >= size) return false
    const ofTenant = this.#recentTenants.isAlone(tenantId) ? perTenantAlone : perTenant
    if (tenant.running >= ofTenant) return false
    if (tenant.callers.size > 1) return own.running < Math.ceil(ofTenant / 2)
    // Alone, but for who comes next. Where everyone is the same one, nobody does.
    return own.running < (caller === null ? ofTenant : Math.max(1, ofTenant - 1))
  }

  /** Gives what is free to those whose turn it is. */
  #serve(): void {
    for (let served = true; served;) {
      served = false
      for (const [tenantId, tenant] of this.#tenants) {
        if (!this.#serveOne(tenantId, tenant)) continue
        served = true
        break
      }
    }
  }

  #serveOne(tenantId: string, tenant: TenantTurns): boolean {
    for (const [caller, own] of tenant.callers) {
      if (own.line.length === 0 || !this.#mayTake(tenantId, tenant, caller, own)) continue
      this.#putLast(tenantId, tenant, caller, own)
      own.line.serveFirst(this.#begin(tenantId, tenant, caller, own))
      return true
    }
    return false
  }
}
