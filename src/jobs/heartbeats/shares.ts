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
 * A tenant may hold up to nine times what is left for all, so that one alone may have 85 % and leaves room for the next: the
 * dynamic thresholds of Choudhury and Hahne ("Dynamic queue length thresholds for shared-memory packet switches", 1998).
 * They need no list of who might come, and shrink while others fill their part.
 */
const TENANT_FACTOR = 9
/** Likewise for a caller, of what is left for its tenant: 83 % of the whole for one that is alone. */
const CALLER_FACTOR = 4
/** Kept from everybody who holds more than `MODEST`, so that there is room for a newcomer whatever the others have done. */
const RESERVE = 0.05
/** A 500th: 100 of 50,000 entries. */
const MODEST = 0.002

/**
 * Who holds how much of the queue. While there is room for all, nobody is refused; when it runs short, those who hold most
 * are, first among tenants and then among the callers of a tenant. Callers that are nobody in particular (no authentication)
 * share the whole.
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

  /** Of the whole, from 0 to 1, by entries or bytes: whichever is nearer to its limit. */
  #part({ entries, bytes }: Amount): number {
    return Math.max(entries / this.#max.entries, bytes / this.#max.bytes)
  }

  /** Whether a caller may add so much. */
  hasRoom(tenantId: string, caller: string | null, added: Amount): boolean {
    const { entries, bytes } = this.#held
    const used = this.#part(this.#held)
    // Bytes are known by what is held, not by what comes: one report may go beyond.
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

  /** The holder to whom an entry of so many bytes is counted from now on. */
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

  /** An entry has grown, or shrunk. */
  resize(holder: Holder, bytes: number): void {
    this.#add(holder, 0, bytes)
  }

  /** An entry is no more. */
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
