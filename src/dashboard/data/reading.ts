import { HeadwayProblem } from '../../browser-client/index.ts'
import { redraw } from '../feed.ts'

/** Why a call failed. */
export interface Problem {
  status: number
  code: string
  detail: string
}

/** The problem for an error; an error that does not come from the service has status 0. */
export const problemOf = (error: unknown): Problem =>
  error instanceof HeadwayProblem
    ? { status: error.status, code: error.code, detail: error.detail }
    : { status: 0, code: 'unreachable', detail: error instanceof Error ? error.message : String(error) }

/**
 * Reads something from the API repeatedly. It reads when `refresh` is called, but only one call at a time, at most once per
 * `restMs`, and in a hidden tab only when the tab is visible again. If a call fails, the last value stays.
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

  /** Nothing has been read yet, and no call has failed. */
  get isLoading(): boolean {
    return this.value === null && this.problem === null
  }

  /** Reads the newest state, as soon as the limits allow. */
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
    // A new tab reads its first value even if it is hidden, so that it is there when the tab becomes visible.
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
