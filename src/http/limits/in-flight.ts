import { HeadwayError } from '../../contract/errors.ts'

export interface InFlightLimits {
  /** Of the process. */
  maxBytes: number
  /** Of one caller. */
  maxBytesPerCaller: number
}

/** Each caller may hold four of the largest bodies. */
export const IN_FLIGHT: InFlightLimits = { maxBytes: 128 * 1024 * 1024, maxBytesPerCaller: 32 * 1024 * 1024 }

/** A holding that has not grown for this long stands still. */
const STANDS_STILL_MS = 1_000

/**
 * A holding counts as growing only if it has grown by this much, so that a body that arrives in a few bytes at a time stands
 * still.
 */
const STEP_BYTES = 16 * 1024

const RETRY_AFTER_SECONDS = 2

/** For whom bytes count. */
export interface Holder {
  tenant: string
  /** null: the service does not tell callers apart, and only the limit of the process applies. */
  caller: string | null
}

interface Account {
  readonly tenant: Tenant
  readonly caller: string | null
  readonly holdings: Set<Holding>
  bytes: number
}

interface Tenant {
  readonly id: string
  readonly callers: Map<string | null, Account>
  bytes: number
}

/** What may be in flight: the body that a client sends, or the answer that it gets. */
export type Kind = 'body' | 'answer'

/** Ends a body or an answer, and tells its client why, if that is still possible. */
export type GiveWay = (refusal: HeadwayError) => void

/** The bytes of one body or one answer. They count until `release`. */
export class Holding {
  bytes = 0
  movedAt: number
  readonly kind: Kind
  readonly account: Account
  readonly #owner: InFlight
  #giveWay: GiveWay | null
  #grownTo = 0

  constructor(owner: InFlight, kind: Kind, account: Account, giveWay: GiveWay | null) {
    this.#owner = owner
    this.kind = kind
    this.account = account
    this.#giveWay = giveWay
    this.movedAt = owner.now()
  }

  /** Counts so many more bytes. Raises `too_much_in_flight` or `overloaded`, and does not count them then. */
  take(bytes: number): void {
    this.#owner.makeRoom(this, bytes)
    this.force(bytes)
  }

  /** Counts so many more bytes even if there is no room: for answers that can no longer be refused. */
  force(bytes: number): void {
    this.#owner.count(this, bytes)
    if (this.bytes < this.#grownTo + STEP_BYTES) return
    this.#grownTo = this.bytes
    this.movedAt = this.#owner.now()
  }

  get mayGiveWay(): boolean {
    return this.#giveWay !== null
  }

  /** The body has arrived: from now on it is not ended to make room. */
  settle(): void {
    this.#giveWay = null
  }

  /** Ends this holding to make room for others. */
  giveWay(refusal: HeadwayError): void {
    const giveWay = this.#giveWay
    this.release()
    giveWay?.(refusal)
  }

  /** Ends the count. May be called more than once. */
  release(): void {
    this.#giveWay = null
    this.#owner.forget(this)
  }
}

const overCaller = (maxBytes: number) =>
  new HeadwayError(
    'too_much_in_flight',
    `Your requests, and the answers that you have not read, take ${maxBytes / 1024} KB of memory, as much as one caller may: ` +
      'send fewer at once, and read what is answered.',
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  )

const overProcess = () =>
  new HeadwayError(
    'overloaded',
    'This process holds as many bytes of requests and answers as it may: try again soon.',
    {
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    },
  )

/**
 * Limits the memory that clients make the process hold: bodies that have begun to arrive and are not answered yet, and answers
 * that clients have not read yet. It counts bytes as they are held, and not as they are announced.
 *
 * If there is no room, the caller that holds most must give way: of the tenant that holds most the caller that holds most, and
 * of that caller the holding that has stood still for longest. A caller that holds less never gives way to one that holds more.
 * Among the holdings of one caller, only those that have stood still for a second give way; otherwise the growing one is
 * refused. If many bodies all move, some of them must be able to arrive.
 */
export class InFlight {
  readonly #limits: InFlightLimits
  readonly #tenants = new Map<string, Tenant>()
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number
  readonly #bytes: Record<Kind, number> = { body: 0, answer: 0 }
  #bodiesTurnedAway = 0

  constructor(limits: InFlightLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.now = now
  }

  /** Bytes of all holdings. */
  get bytes(): number {
    return this.#bytes.body + this.#bytes.answer
  }

  bytesOf(kind: Kind): number {
    return this.#bytes[kind]
  }

  /** Bodies that were refused because of what the process held, and not because of what their caller held. */
  get bodiesTurnedAway(): number {
    return this.#bodiesTurnedAway
  }

  /** Opens a holding without bytes. `giveWay` is called at most once, after its release; null: the holding never gives way. */
  open({ tenant: id, caller }: Holder, kind: Kind, giveWay: GiveWay | null): Holding {
    let tenant = this.#tenants.get(id)
    if (!tenant) this.#tenants.set(id, (tenant = { id, callers: new Map(), bytes: 0 }))
    let account = tenant.callers.get(caller)
    if (!account) tenant.callers.set(caller, (account = { tenant, caller, holdings: new Set(), bytes: 0 }))
    const holding = new Holding(this, kind, account, giveWay)
    account.holdings.add(holding)
    return holding
  }

  count(holding: Holding, bytes: number): void {
    const { account } = holding
    if (!account.holdings.has(holding)) return
    holding.bytes += bytes
    account.bytes += bytes
    account.tenant.bytes += bytes
    this.#bytes[holding.kind] += bytes
  }

  forget(holding: Holding): void {
    const { account } = holding
    const { tenant, caller, holdings } = account
    this.count(holding, -holding.bytes)
    if (!holdings.delete(holding) || holdings.size > 0) return
    tenant.callers.delete(caller)
    if (tenant.callers.size === 0) this.#tenants.delete(tenant.id)
  }

  makeRoom(holding: Holding, bytes: number): void {
    const { maxBytes, maxBytesPerCaller } = this.#limits
    const { account } = holding
    while (account.caller !== null && account.bytes + bytes > maxBytesPerCaller) {
      const refusal = overCaller(maxBytesPerCaller)
      const other = this.#standingStill(account, holding)
      if (!other) throw refusal
      other.giveWay(refusal)
    }
    while (this.bytes + bytes > maxBytes) {
      const refusal = overProcess()
      const other = this.#heavier(holding, bytes) ?? this.#standingStill(account, holding)
      if ((other ?? holding).kind === 'body') this.#bodiesTurnedAway += 1
      if (!other) throw refusal
      other.giveWay(refusal)
    }
  }

  /** The holding that has stood still for longest, if for a second at least. */
  #standingStill(account: Account, except: Holding): Holding | null {
    const oldest = oldestOf(account, except)
    return oldest && this.now() - oldest.movedAt >= STANDS_STILL_MS ? oldest : null
  }

  /** The holding that gives way to a caller that holds less, even after that caller's holding has grown by `bytes`. */
  #heavier({ account }: Holding, bytes: number): Holding | null {
    const heavierTenants = [...this.#tenants.values()].filter(tenant => tenant.bytes > account.tenant.bytes + bytes)
    const heavierCallers = [...account.tenant.callers.values()].filter(caller => caller.bytes > account.bytes + bytes)
    const callers = [
      ...byBytes(heavierTenants).flatMap(tenant => byBytes([...tenant.callers.values()])),
      ...byBytes(heavierCallers),
    ]
    for (const caller of callers) {
      const oldest = oldestOf(caller)
      if (oldest) return oldest
    }
    return null
  }
}

const byBytes = <Weighed extends { bytes: number }>(all: Weighed[]): Weighed[] => all.sort((a, b) => b.bytes - a.bytes)

/** The holding that has moved least recently, of those that may give way. */
const oldestOf = ({ holdings }: Account, except?: Holding): Holding | null => {
  let oldest: Holding | null = null
  for (const holding of holdings) {
    if (holding === except || !holding.mayGiveWay) continue
    if (oldest === null || holding.movedAt < oldest.movedAt) oldest = holding
  }
  return oldest
}
