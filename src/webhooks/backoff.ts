/** Time between two attempts (s, before jitter): 5, 15, 45, 135, 405, 1215, 3645, 10935, 14400, 14400, … */
const FIRST_SECONDS = 5
const FACTOR = 3
const MOST_SECONDS = 4 * 3_600

/** A receiver that asks for a longer pause gets this one. */
const LONGEST_PAUSE_SECONDS = 3_600

/**
 * The time from the failure of the `attempts`-th attempt to the next one. The jitter of a fifth each way keeps deliveries that
 * failed together from coming back together. `random` is from 0 to 1.
 */
export const backoffSeconds = (attempts: number, random: number): number =>
  Math.min(FIRST_SECONDS * FACTOR ** (attempts - 1), MOST_SECONDS) * (0.8 + 0.4 * random)

/**
 * `Retry-After` (RFC 9110, section 10.2.3), seconds or a date, as seconds; at most an hour, null if it is missing or invalid.
 */
export const retryAfterSeconds = (header: string | undefined, nowMs: number): number | null => {
  if (header === undefined) return null
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - nowMs) / 1000
  return seconds > 0 ? Math.min(seconds, LONGEST_PAUSE_SECONDS) : null
}
