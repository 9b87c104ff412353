import { HeadwayProblem } from '../../browser-client/index.ts'
import { redraw } from '../feed.ts'

/** Why something could not be read or done, as far as the service said. */
export interface Problem {
  status: number
  code: string
  detail: string
}

/** What an error of the client says; one that is not of the service has status 0. */
export const problemOf = (error: unknown): Problem =>
  error instanceof HeadwayProblem
    ? { status: error.status, code: error.code, detail: error.detail }
    : { status: 0, code: 'unreachable', detail: error instanceof Error ? error.message : String(error) }

/**
 * Reads something of the API again and again: when `refresh` is called, but never twice at once, not more often than every
 * `restMs`, and for a tab that nobody sees only once it is looked at. What was read stays when reading fails.
 */
export class Reading<Value> {
  value: Value | null = null
  problem: Problem | null = null
  readonly #read: (signal: AbortSignal) => Promise<Value>
  readonly #restMs: number
  #control: AbortController | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  #wanted = false
  #stopped = false

  constructor(read: (signal: AbortSignal) => Promise<Value>, restMs: number) {
    this.#read = read
    this.#restMs = restMs
  }

  /** Nothing has been read yet, and nothing has failed. */
  get isLoading(): boolean {
    return this.value === null && this.problem === null
  }

  /** Asks for the newest state, now or as soon as may be. */
  refresh(): void {
    this.#wanted = true
    this.#proceed()
  }

  stop(): void {
    this.#stopped = true
    this.#control?.abort()
    clearTimeout(this.#timer)
    document.removeEventListener('visibilitychange', this.#proceed)
  }

  readonly #proceed = (): void => {
    if (!this.#wanted || this.#control !== null || this.#timer !== undefined || this.#stopped) return
    // What a new tab shows is read all the same: it is there when somebody comes to look.
    if (document.hidden && !this.isLoading) document.addEventListener('visibilitychange', this.#proceed, { once: true })
    else void this.#run()
  }

  async #run(): Promise<void> {
    this.#wanted = false
    const control = new AbortController()
    this.#control = control
    try {
      this.value = await this.#read(control.signal)
      this.problem = null
    } catch (error) {
      if (this.#stopped) return
      this.problem = problemOf(error)
    } finally {
      this.#control = null
    }
    if (this.#stopped) return
    redraw()
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#proceed()
    }, this.#restMs)
  }
}
