import { setTimeout as delay } from 'node:timers/promises'

const INTERVAL_MS = 10

/** A busy or slow machine gets so many times the time. Only a condition that is never met takes it. */
const PATIENCE = 3

/**
 * Polls until `condition` gives something truthy, and returns it. Use it only where there is no event to wait for.
 * A condition that throws counts as not yet met; the error of a time-out shows the condition and the last throw.
 */
export const waitFor = async <T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 5000 }: { timeoutMs?: number } = {},
): Promise<T> => {
  const patienceMs = timeoutMs * PATIENCE
  const deadline = Date.now() + patienceMs
  let lastError: unknown
  for (;;) {
    try {
      const value = await condition()
      if (value) return value
      lastError = undefined
    } catch (error) {
      lastError = error
    }
    if (Date.now() > deadline) {
      throw new Error(`Still not so after ${patienceMs} ms: ${condition.toString()}`, { cause: lastError })
    }
    await delay(INTERVAL_MS)
  }
}
