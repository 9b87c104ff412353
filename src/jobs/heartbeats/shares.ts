/** What is held, in entries and bytes. */
interface Amount {
  entries: number
  bytes: number
}

/** What one caller of a tenant holds. An entry keeps its holder, so that giving back looks nothing up. */
export interface Holder extends Amount {
  readonly tenant: TenantShare
  readonly caller: string | null
}

interface TenantShare extends Amount {
  readonly id: string
  readonly holders: Map<string | null, Holder>
}

export interface SharesOptions {
  maxEntries: number
  maxBytes: number
}

/**
 * A tenant may hold up to nine times what is left of the queue, so that a tenant that is the only one may hold 85 % and leaves
 * room for the next one. These are the dynamic thresholds of Choudhury and Hahne ("Dynamic queue length thresholds for
 * shared-memory packet switches", 1998). They need no list of possible tenants, and a tenant's limit shrinks while others fill
 * the queue.
 */
const TENANT_FACTOR = 9
/** The same for a caller, of what is left for its tenant: a caller that is the only one may hold 83 % of the queue. */
const CALLER_FACTOR = 4
/**
 * The part of the queue that is kept free for callers whose tenant holds no more than `MODEST`, so that a newcomer finds room.
 */
const RESERVE = 0.05
/** A 500th: 100 of 50,000 entries. */
const MODEST = 0.002

/**
 * Who holds how much of the queue. While there is room for all, no report is refused. When room runs short, the tenants that
 * hold most are refused first, and within a tenant the callers that hold most. Callers without an identity (no authentication)
 * share the whole queue.
 */
export class Shares {
  readonly #max: Amount
  readonly #tenants = new Map<string, TenantShare>()
  readonly #held: Amount = { entries: 0, bytes: 0 }

  constructor({ maxEntries, maxBytes }: SharesOptions) {
    this.#max = { entries: maxEntries, bytes: maxBytes }
  }

  get held(): Readonly<Amount> {
    return this.#held
  }

  /** The part of the queue that an amount is, from 0 to 1: by entries or by bytes, whichever is larger. */
  #part({ entries, bytes }: Amount): number {
    return Math.max(entries / this.#max.entries, bytes / this.#max.bytes)
  }

  /** Whether a caller may add this amount. */
  hasRoom(tenantId: string, caller: string | null, added: Amount): boolean {
    const { entries, bytes } = this.#held
    const used = this.#part(this.#held)
    // Bytes are compared before the reports are added, so one call may exceed the limit.
    if (entries + added.entries > this.#max.entries || bytes > this.#max.bytes) return false
    if (caller === null) return true
    const tenant = this.#tenants.get(tenantId)
    const more = this.#part(added)
    const ofTenant = (tenant ? this.#part(tenant) : 0) + more
    if (ofTenant <= MODEST) return true
    const most = TENANT_FACTOR * (1 - RESERVE - used)
    if (ofTenant > most) return false
    const holder = tenant?.holders.get(caller)
    const ofCaller = (holder ? this.#part(holder) : 0) + more
    return ofCaller <= CALLER_FACTOR * (most - ofTenant + more)
  }

  /** Counts a new entry of so many bytes, and answers the holder that it is counted for. */
  take(tenantId: string, caller: string | null, bytes: number): Holder {
    let tenant = this.#tenants.get(tenantId)
    if (!tenant) {
      tenant = { id: tenantId, holders: new Map(), entries: 0, bytes: 0 }
      this.#tenants.set(tenantId, tenant)
    }
    let holder = tenant.holders.get(caller)
    if (!holder) {
      holder = { tenant, caller, entries: 0, bytes: 0 }
      tenant.holders.set(caller, holder)
    }
    this.#add(holder, 1, bytes)
    return holder
  }

  /** Changes the size of a holder's entry by `bytes`. */
  resize(holder: Holder, bytes: number): void {
    this.#add(holder, 0, bytes)
  }

  /** Ends an entry of so many bytes. */
  giveBack(holder: Holder, bytes: number): void {
    this.#add(holder, -1, -bytes)
    if (holder.entries > 0) return
    const { tenant, caller } = holder
    tenant.holders.delete(caller)
    if (tenant.entries === 0) this.#tenants.delete(tenant.id)
  }

  #add(holder: Holder, entries: number, bytes: number): void {
    for (const amount of [holder, holder.tenant, this.#held]) {
      amount.entries += entries
      amount.bytes += bytes
    }
  }
}
