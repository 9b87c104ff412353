import { Line } from '../turns/line.ts'

/** Why no slot was given. The database is not at fault, or not only the database. */
export class NoSlotError extends Error {
  override readonly name = 'NoSlotError'
}

export interface SlotsOptions {
  /** Slots that can be taken at the same time. */
  size: number
  /** Callers that may wait for a slot. */
  maxWaiting: number
  /** A caller that has waited for so long is refused. */
  patienceMs: number
}

/** A limited number of slots, given in the order in which callers ask. A caller that finds the line full is refused at once. */
export class Slots {
  readonly #options: SlotsOptions
  readonly #line = new Line<void>()
  #taken = 0
  #onAllFree: (() => void)[] = []

  constructor(options: SlotsOptions) {
    this.#options = options
  }

  get taken(): number {
    return this.#taken
  }

  get waiting(): number {
    return this.#line.length
  }

  /** Resolves with a slot, which `giveBack` returns. Raises `NoSlotError` when none is free in time. */
  take(): Promise<void> {
    const { size, maxWaiting, patienceMs } = this.#options
    if (this.#taken < size) {
      this.#taken += 1
      return Promise.resolve()
    }
    if (this.#line.length >= maxWaiting) {
      return Promise.reject(new NoSlotError(`All ${size} connections are busy, and ${maxWaiting} callers wait`))
    }
    return this.#line.wait(
      patienceMs,
      () => new NoSlotError(`All ${size} connections have been busy for ${patienceMs} ms`),
    )
  }

  /** Returns a slot. The first caller in the line gets it. */
  giveBack(): void {
    if (this.#line.length > 0) {
      this.#line.serveFirst()
      return
    }
    this.#taken -= 1
    if (this.#taken === 0) for (const tell of this.#onAllFree.splice(0)) tell()
  }

  /** Refuses all callers that wait. */
  refuseWaiting(message: string): void {
    this.#line.refuseAll(new NoSlotError(message))
  }

  /** Resolves when no slot is taken. */
  allFree(): Promise<void> {
    if (this.#taken === 0) return Promise.resolve()
    return new Promise(resolve => this.#onAllFree.push(resolve))
  }
}
