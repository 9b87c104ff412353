/** How numbers are spread. Quartiles are Tukey's hinges: medians of the halves, where both halves have the middle number. */
export interface Spread {
  count: number
  least: number
  lowerQuartile: number
  median: number
  upperQuartile: number
  most: number
}

/** With fewer numbers, none of them counts as unusual. */
const LEAST_COUNT = 5
/** Tukey's fences: what lies further from the quartiles than this many times their distance is an outlier. */
const FENCE = 1.5

const medianOf = (sorted: readonly number[]): number => {
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)] ?? 0
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? 0) + upper) / 2 : upper
}

/** null: fewer than five numbers, which say little. */
export const spreadOf = (values: readonly number[]): Spread | null => {
  if (values.length < LEAST_COUNT) return null
  const sorted = values.toSorted((a, b) => a - b)
  const half = Math.ceil(sorted.length / 2)
  return {
    count: sorted.length,
    least: sorted[0] ?? 0,
    lowerQuartile: medianOf(sorted.slice(0, half)),
    median: medianOf(sorted),
    upperQuartile: medianOf(sorted.slice(-half)),
    most: sorted.at(-1) ?? 0,
  }
}

/** The number above which one is unusually large: an outlier, and larger than one and a half medians. */
export const upperFence = ({ lowerQuartile, median, upperQuartile }: Spread): number =>
  Math.max(1.5 * median, upperQuartile + FENCE * (upperQuartile - lowerQuartile))

/** The number below which one is unusually small: an outlier, and smaller than two thirds of the median. */
export const lowerFence = ({ lowerQuartile, median, upperQuartile }: Spread): number =>
  Math.min(median / 1.5, lowerQuartile - FENCE * (upperQuartile - lowerQuartile))
