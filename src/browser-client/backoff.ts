/** Used until the service sends `retry:`. */
const FIRST_MS = 2_000
const LONGEST_MS = 30_000

/**
 * How long to wait before attempt number `failures` + 1, in milliseconds. The first wait is what the service asks for. It
 * doubles with every further failure, up to 30 seconds. Half of it is random, so that pages that lost the same service do not
 * come back together.
 */
export const backoffMs = ({
  failures,
  retryMs,
  retryAfterSeconds = null,
  random = Math.random,
}: {
  failures: number
  retryMs: number | null
  retryAfterSeconds?: number | null
  random?: () => number
}): number => {
  const longest = Math.min(LONGEST_MS, (retryMs ?? FIRST_MS) * 2 ** Math.min(Math.max(0, failures - 1), 10))
  return Math.max(longest * (0.5 + random() / 2), (retryAfterSeconds ?? 0) * 1000)
}
