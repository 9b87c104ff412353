/** Between two attempts (s, before jitter): 5, 15, 45, 135, 405, 1215, 3645, 10935, 14400, 14400, … */
const FIRST_SECONDS = 5
const FACTOR = 3
const MOST_SECONDS = 4 * 3_600

/** A receiver that wants to be left alone for longer is asked again all the same. */
const LONGEST_PAUSE_SECONDS = 3_600

/**
 * How long after the `attempts`-th attempt failed the next one is made. Jitter of a fifth each way, so that what failed
 * together does not come back together. `random` is from 0 to 1.
 */
export const backoffSeconds = (attempts: number, random: number): number =>
  Math.min(FIRST_SECONDS * FACTOR ** (attempts - 1), MOST_SECONDS) * (0.8 + 0.4 * random)

/** `Retry-After` (RFC 9110, section 10.2.3), seconds or a date, as seconds; at most an hour, null for none and for nonsense. */
export const retryAfterSeconds = (header: string | undefined, nowMs: number): number | null => {
  if (header === undefined) return null
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - nowMs) / 1000
  return seconds > 0 ? Math.min(seconds, LONGEST_PAUSE_SECONDS) : null
}
