// Times by tenths of a millisecond, for more of them than can be kept. What takes longer than ten seconds counts as ten seconds.
const BUCKETS = 100_000
const BUCKETS_PER_MS = 10

export class Histogram {
  #buckets = new Uint32Array(BUCKETS + 1)

  add(ms) {
    this.#buckets[Math.min(BUCKETS, Math.max(0, Math.floor(ms * BUCKETS_PER_MS)))] += 1
  }

  /** As pairs of a bucket and its number, for a message to another process. */
  toPairs() {
    return [...this.#buckets.entries()].filter(([, number]) => number > 0)
  }
}

/** The value in milliseconds below which a share of the values lies, by the pairs of one or more histograms; null of none. */
export const percentileOfPairs = (pairs, share) => {
  const numbers = new Map()
  let total = 0
  for (const [bucket, number] of pairs) {
    numbers.set(bucket, (numbers.get(bucket) ?? 0) + number)
    total += number
  }
  let seen = 0
  for (const bucket of [...numbers.keys()].sort((a, b) => a - b)) {
    seen += numbers.get(bucket)
    if (seen >= share * total) return (bucket + 1) / BUCKETS_PER_MS
  }
  return null
}
