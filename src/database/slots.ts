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

interface Waiting {
  give: () => void
  refuse: (error: NoSlotError) => void
}

/** A counted resource, given in the order in which it was asked for. The line is bounded: who finds it full is refused at once. */
export class Slots {
  readonly #options: SlotsOptions
  readonly #line = new Set<Waiting>()
  #taken = 0
  #onAllFree: (() => void)[] = []

  constructor(options: SlotsOptions) {
    this.#options = options
  }

  get taken(): number {
    return this.#taken
  }

  get waiting(): number {
    return this.#line.size
  }

  /** Resolves with a slot, which `giveBack` returns. Raises `NoSlotError` when there is none in time. */
  take(): Promise<void> {
    const { size, maxWaiting, patienceMs } = this.#options
    if (this.#taken < size) {
      this.#taken += 1
      return Promise.resolve()
    }
    if (this.#line.size >= maxWaiting) {
      return Promise.reject(new NoSlotError(`All ${size} connections are busy, and ${maxWaiting} callers wait`))
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        this.#line.delete(waiting)
      }
      const waiting: Waiting = {
        give: () => {
          leave()
          resolve()
        },
        refuse: error => {
          leave()
          reject(error)
        },
      }
      const timer = setTimeout(() => {
        waiting.refuse(new NoSlotError(`All ${size} connections have been busy for ${patienceMs} ms`))
      }, patienceMs)
      this.#line.add(waiting)
    })
  }

  /** Returns a slot that was taken: the first of the line has it then. */
  giveBack(): void {
    const [first] = this.#line
    if (first) {
      first.give()
      return
    }
    this.#taken -= 1
    if (this.#taken === 0) for (const tell of this.#onAllFree.splice(0)) tell()
  }

  /** Refuses whoever waits. */
  refuseWaiting(message: string): void {
    for (const waiting of [...this.#line]) waiting.refuse(new NoSlotError(message))
  }

  /** Resolves when no slot is taken. */
  allFree(): Promise<void> {
    if (this.#taken === 0) return Promise.resolve()
    return new Promise(resolve => this.#onAllFree.push(resolve))
  }
}
