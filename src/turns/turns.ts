import { Line } from './line.ts'
import { Recent } from './recent.ts'

/** For whom a turn is taken. */
export interface Party {
  tenantId: string
  /** null: callers are not told apart. */
  caller: string | null
  /**
   * For a read that several callers share; `caller` is the one who asked first. It waits in a line of its own, so that it is
   * not refused because of that caller's other calls. The limit of held answers and streams limits this line.
   */
  isShared?: boolean
}

/** The name of the line in which a party waits. The name of a caller never begins with `shared`. */
const lineOf = ({ caller, isShared = false }: Party): string | null => (isShared ? `shared ${caller}` : caller)

/** Why no turn was given: too many calls of the caller wait, or no turn came in time. */
export class NoTurnError extends Error {
  override readonly name = 'NoTurnError'
  readonly reason: 'line' | 'patience'
  constructor(reason: 'line' | 'patience') {
    super(reason === 'line' ? 'Too many calls of this caller wait' : 'No turn came in time')
    this.reason = reason
  }
}

export interface TurnsOptions {
  /** Turns that can be taken at the same time. */
  size: number
  /**
   * Turns of one tenant, while no other tenant has asked for any recently. Less than `size`, so that the next tenant need not
   * wait until a statement ends.
   */
  perTenantAlone: number
  /** Turns of one tenant, while others ask for turns as well. */
  perTenant: number
  /**
   * While others ask for turns as well, a tenant that has no more calls than this, running and waiting, has a turn for each of
   * them: a few calls that are short wait for each other longer than they take. Default: 0.
   */
  perTenantOfFew?: number
  /**
   * While others ask for turns as well, a tenant rests after each turn for as long as it lasted, at most so many milliseconds:
   * turns that follow each other without a gap would take a core of the database for themselves. Default: 0.
   */
  longestRestMs?: number
  /** Calls of one caller that may wait; shared reads do not count. */
  maxWaitingPerCaller: number
  patienceMs: number
  /** Milliseconds of a monotonic clock. */
  now?: () => number
}

/** Gives a turn back. Further calls do nothing. */
type EndTurn = () => void

interface CallerTurns {
  running: number
  line: Line<EndTurn>
}

interface TenantTurns {
  running: number
  /** Calls that run or wait. */
  calls: number
  /** The caller that was served last is the last one. */
  callers: Map<string | null, CallerTurns>
}

/**
 * Shares a limited number of turns: one to each tenant that waits, and within a tenant one to each caller. A turn that was
 * given cannot be taken back, so no tenant and no caller gets all of them, and one is left for the next.
 */
export class Turns {
  readonly #options: Required<TurnsOptions>
  /** The tenant that was served last is the last one. */
  readonly #tenants = new Map<string, TenantTurns>()
  readonly #recentTenants = new Recent()
  #running = 0

  constructor(options: TurnsOptions) {
    this.#options = { perTenantOfFew: 0, longestRestMs: 0, now: () => performance.now(), ...options }
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
    const tenant = this.#tenants.get(tenantId) ?? {
      running: 0,
      calls: 0,
      callers: new Map<string | null, CallerTurns>(),
    }
    const own = tenant.callers.get(caller) ?? { running: 0, line: new Line<EndTurn>() }
    if (!party.isShared && own.line.length >= maxWaitingPerCaller) return Promise.reject(new NoTurnError('line'))
    this.#tenants.set(tenantId, tenant)
    tenant.callers.set(caller, own)
    tenant.calls += 1
    // A caller that waits although there are free turns has as many as it may have.
    if (this.#mayTake(tenantId, tenant, caller, own)) return Promise.resolve(this.#begin(tenantId, tenant, caller, own))
    return own.line.wait(patienceMs, () => {
      tenant.calls -= 1
      this.#forget(tenantId, tenant, caller, own)
      // A tenant with one call less may be one of few calls, whose other calls have a turn.
      this.#serve()
      return new NoTurnError('patience')
    })
  }

  #begin(tenantId: string, tenant: TenantTurns, caller: string | null, own: CallerTurns): EndTurn {
    this.#running += 1
    tenant.running += 1
    own.running += 1
    const { longestRestMs, now } = this.#options
    const begunAt = now()
    const giveBack = () => {
      tenant.running -= 1
      tenant.calls -= 1
      own.running -= 1
      // Goes behind callers that came while the turn lasted.
      this.#putLast(tenantId, tenant, caller, own)
      this.#forget(tenantId, tenant, caller, own)
      this.#serve()
    }
    let ended = false
    return () => {
      if (ended) return
      ended = true
      this.#running -= 1
      if (longestRestMs === 0 || this.#recentTenants.isAlone(tenantId)) giveBack()
      else {
        setTimeout(giveBack, Math.min(now() - begunAt, longestRestMs)).unref()
        this.#serve()
      }
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
    const { size, perTenant, perTenantAlone, perTenantOfFew } = this.#options
    if (this.#running >= size) return false
    if (tenant.calls <= perTenantOfFew) return true
    const ofTenant = this.#recentTenants.isAlone(tenantId) ? perTenantAlone : perTenant
    if (tenant.running >= ofTenant) return false
    if (tenant.callers.size > 1) return own.running < Math.ceil(ofTenant / 2)
    // The only caller leaves one turn for the next one. Where callers are not told apart, there is no next one.
    return own.running < (caller === null ? ofTenant : Math.max(1, ofTenant - 1))
  }

  /** Gives free turns to the parties that are next. */
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
