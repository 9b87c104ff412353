import { HeadwayError } from '../../contract/errors.ts'

export interface InFlightLimits {
  /** Of the process. */
  maxBytes: number
  /** Of these, what one caller may hold. */
  maxBytesPerCaller: number
}

/** For each caller four of the largest bodies. */
export const IN_FLIGHT: InFlightLimits = { maxBytes: 128 * 1024 * 1024, maxBytesPerCaller: 32 * 1024 * 1024 }

/** What has not grown for so long stands still. */
const STANDS_STILL_MS = 1_000

/** What arrives a few bytes at a time stands still as well: only so much more counts as growth. */
const STEP_BYTES = 16 * 1024

const RETRY_AFTER_SECONDS = 2

/** Whom bytes count for. */
export interface Holder {
  tenant: string
  /** null: everyone is the same one. Only the limit of the process counts then. */
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

/** What may be in flight: what a client sends, and what it is answered. */
export type Kind = 'body' | 'answer'

/** Ends what was held, and tells its client why where it still can. */
export type GiveWay = (refusal: HeadwayError) => void

/** The bytes of one body, or of one answer. Counted until `release`. */
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

  /** Counts so many more. Raises `too_much_in_flight` and `overloaded`; the bytes are not counted then. */
  take(bytes: number): void {
    this.#owner.makeRoom(this, bytes)
    this.force(bytes)
  }

  /** Counts so many more, whether or not there is room: for what cannot be refused any more. */
  force(bytes: number): void {
    this.#owner.count(this, bytes)
    if (this.bytes < this.#grownTo + STEP_BYTES) return
    this.#grownTo = this.bytes
    this.movedAt = this.#owner.now()
  }

  get mayGiveWay(): boolean {
    return this.#giveWay !== null
  }

  /** It has arrived: from now on it does not give way. */
  settle(): void {
    this.#giveWay = null
  }

  /** Lets others go on at the cost of this one. */
  giveWay(refusal: HeadwayError): void {
    const giveWay = this.#giveWay
    this.release()
    giveWay?.(refusal)
  }

  /** As often as one likes. */
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
 * Bounds the memory that clients make the process hold: bodies that have begun to arrive and are not answered yet, and answers
 * that their clients have not taken yet. Counted is what is held, as it grows, and not what is announced.
 *
 * Where there is no room for more, who holds most gives way: of the tenant that holds most the caller that holds most, and of
 * that what has stood still for longest. A caller that holds less never gives way for one that holds more. Within one caller
 * only what has stood still for a second gives way, and what would have grown is refused otherwise: of many bodies that all
 * move, some must arrive.
 */
export class InFlight {
  readonly #limits: InFlightLimits
  readonly #tenants = new Map<string, Tenant>()
  /** Milliseconds of a clock that nobody sets. */
  readonly now: () => number
  readonly #bytes: Record<Kind, number> = { body: 0, answer: 0 }
  #bodiesTurnedAway = 0

  constructor(limits: InFlightLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.now = now
  }

  /** Of all holdings together. */
  get bytes(): number {
    return this.#bytes.body + this.#bytes.answer
  }

  bytesOf(kind: Kind): number {
    return this.#bytes[kind]
  }

  /** Bodies that were refused for what the process held, and not for what their caller held. */
  get bodiesTurnedAway(): number {
    return this.#bodiesTurnedAway
  }

  /** A holding without bytes. `giveWay` is called at most once, after its release; null: it never gives way. */
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

  /** What has stood still for longest, and for a second at least. */
  #standingStill(account: Account, except: Holding): Holding | null {
    const oldest = oldestOf(account, except)
    return oldest && this.now() - oldest.movedAt >= STANDS_STILL_MS ? oldest : null
  }

  /** What gives way for a holding of someone who holds less, that included by which it would grow. */
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

/** What may give way, and has moved least recently. */
const oldestOf = ({ holdings }: Account, except?: Holding): Holding | null => {
  let oldest: Holding | null = null
  for (const holding of holdings) {
    if (holding === except || !holding.mayGiveWay) continue
    if (oldest === null || holding.movedAt < oldest.movedAt) oldest = holding
  }
  return oldest
}
