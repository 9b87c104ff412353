import { Line } from '../turns/line.ts'

/** Why no slot was given: the database is not at fault, or not alone. */
export class NoSlotError extends Error {
  override readonly name = 'NoSlotError'
}

export interface SlotsOptions {
  /** Slots that can be taken at once. */
  size: number
  /** Callers that may wait for one. */
  maxWaiting: number
  /** A caller that has waited for so long is refused. */
  patienceMs: number
}

/** A counted resource, given in the order in which it was asked for. The line is bounded: who finds it full is refused at once. */
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

  /** Resolves with a slot, which `giveBack` returns. Raises `NoSlotError` when there is none in time. */
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

  /** Returns a slot that was taken: the first of the line has it then. */
  giveBack(): void {
    if (this.#line.length > 0) {
      this.#line.serveFirst()
      return
    }
    this.#taken -= 1
    if (this.#taken === 0) for (const tell of this.#onAllFree.splice(0)) tell()
  }

  /** Refuses whoever waits. */
  refuseWaiting(message: string): void {
    this.#line.refuseAll(new NoSlotError(message))
  }

  /** Resolves when no slot is taken. */
  allFree(): Promise<void> {
    if (this.#taken === 0) return Promise.resolve()
    return new Promise(resolve => this.#onAllFree.push(resolve))
  }
}
