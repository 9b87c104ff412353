import type { Log } from './log.ts'

export interface ReconcilerOptions {
  reconcile: () => Promise<void>
  /** How often, and how often while the listener does not work and nothing else finds changes. */
  everyMs: number
  deafEveryMs: number
  log: Log
}

/** Runs reconciliations from time to time, never two at once. */
export class Reconciler {
  readonly #options: ReconcilerOptions
  #deaf = true
  #timer: NodeJS.Timeout | null = null
  #running: Promise<void> | null = null
  #again = false
  #failing = false
  #closed = false

  constructor(options: ReconcilerOptions) {
    this.#options = options
  }

  /** The listener works from now on, and may have missed earlier notifications. */
  connected(): void {
    this.#deaf = false
    this.#again = this.#running !== null
    this.#run()
  }

  deaf(): void {
    if (this.#deaf) return
    this.#deaf = true
    this.#schedule()
  }

  start(): void {
    this.#schedule()
  }

  close(): void {
    this.#closed = true
    if (this.#timer) clearTimeout(this.#timer)
  }

  #schedule(): void {
    if (this.#timer) clearTimeout(this.#timer)
    if (this.#running || this.#closed) return
    const { everyMs, deafEveryMs } = this.#options
    this.#timer = setTimeout(() => this.#run(), this.#deaf ? deafEveryMs : everyMs).unref()
  }

  #run(): void {
    if (this.#running || this.#closed) return
    this.#running = this.#attempt().finally(() => {
      this.#running = null
      if (this.#again) {
        this.#again = false
        this.#run()
      } else {
        this.#schedule()
      }
    })
  }

  async #attempt(): Promise<void> {
    const { reconcile, log } = this.#options
    try {
      await reconcile()
      if (this.#failing) log.info({}, 'Reconcile works again')
      this.#failing = false
    } catch (error) {
      if (!this.#failing)
        log.warn({ err: error }, 'Reconcile failed; changes that are not announced wait until it works')
      this.#failing = true
    }
  }
}
