import { HeadwayProblem } from '../../client/index.ts'
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
 * Reads something of the API again and again: when `refresh` is called, but never twice at once and not more often than every
 * `restMs`. What was read stays when reading fails.
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
    if (this.#control === null && this.#timer === undefined && !this.#stopped) void this.#run()
  }

  stop(): void {
    this.#stopped = true
    this.#control?.abort()
    clearTimeout(this.#timer)
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
      if (this.#wanted) void this.#run()
    }, this.#restMs)
  }
}
