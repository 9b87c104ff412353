import { setTimeout as delay } from 'node:timers/promises'

const INTERVAL_MS = 10

/**
 * Polls until `condition` gives something truthy, and returns it. Use it only where there is no event to wait for.
 * A condition that throws counts as not yet met; the error of a time-out shows the condition and the last throw.
 */
export const waitFor = async <T>(
  condition: () => T | Promise<T>,
  { timeoutMs = 5000 }: { timeoutMs?: number } = {},
): Promise<T> => {
  const deadline = Date.now() + timeoutMs
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
      throw new Error(`Still not so after ${timeoutMs} ms: ${condition.toString()}`, { cause: lastError })
    }
    await delay(INTERVAL_MS)
  }
}
