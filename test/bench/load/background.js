// Load that goes on by itself, at a rate and not as fast as possible, until it is stopped.
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

/** Who is late by more than this does not catch up: the load is a rate, not a debt. */
const LONGEST_DEBT_MS = 1_000

/** Calls `act(lane, turn)` `rate` times a second, on `lanes` lanes that each wait for their own answer, until `state.stopped`. */
export const paced = (state, rate, lanes, act) =>
  Array.from({ length: lanes }, async (_, lane) => {
    const intervalMs = (1000 * lanes) / rate
    let due = performance.now() + Math.random() * intervalMs
    for (let turn = 0; !state.stopped; turn += 1) {
      const wait = due - performance.now()
      if (wait > 0) await delay(wait)
      if (state.stopped) return
      await act(lane, turn)
      due = Math.max(due + intervalMs, performance.now() - LONGEST_DEBT_MS)
    }
  })

/** Loops that run until `stop`, and what they count in `state`. What fails in one of them is raised by the next call. */
export class Background {
  #running = null

  begin(state, loops) {
    this.#running = { state, done: Promise.all(loops).catch(error => (state.failure = error)) }
  }

  get state() {
    const { state } = this.#running
    if (state.failure) throw state.failure
    return state
  }

  async stop() {
    const { state, done } = this.#running
    state.stopped = true
    await done
    this.#running = null
    if (state.failure) throw state.failure
    return state
  }
}
