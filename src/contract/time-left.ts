// How times are shown, those that have passed and those that a job may still take, as one number or as a range: the dashboard, the
// elements, terminals and messages show the same numbers with the same units.

export type TimeUnit = 'second' | 'minute' | 'hour' | 'day'

/** A time as people say it. */
export interface Amount {
  value: number
  unit: TimeUnit
}

/** The time left and its range. `low` is null where the range begins at once. */
export interface LeftRange {
  about: Amount
  low: Amount | null
  high: Amount
}

/** The fields of a job that say how long it will take, in seconds as of `updatedAt`. */
export interface Estimate {
  etaSeconds?: number | null
  etaLowSeconds?: number | null
  etaHighSeconds?: number | null
}

/** A range is narrow, and one number says it all, where its ends differ by less than this factor or by less than this time. */
const NARROW_FACTOR = 1.2
const NARROW_SECONDS = 10

/** Below so many of a unit, halves of it are told apart. */
const HALVES_BELOW = 10

/** Each unit with the number of it from which the next one is used: 119 minutes, but 2 hours. */
const UNITS: readonly [unit: TimeUnit, seconds: number, below: number, hasHalves: boolean][] = [
  ['second', 1, 120, false],
  ['minute', 60, 120, false],
  ['hour', 3_600, 48, true],
  ['day', 86_400, Infinity, true],
]

type Round = (value: number) => number

/** In the smallest unit of which there are not too many. */
const amountOf = (seconds: number, round: Round, roundHalves: Round = round): Amount => {
  for (const [unit, size, below, hasHalves] of UNITS) {
    const value = seconds / size
    const rounded = hasHalves ? (value < HALVES_BELOW ? roundHalves(value * 2) / 2 : roundHalves(value)) : round(value)
    if (rounded < below) return { value: rounded, unit }
  }
  throw new RangeError(`${seconds} is no time.`)
}

const isSame = (one: Amount, other: Amount): boolean => one.value === other.value && one.unit === other.unit

/**
 * The range of the time left, `passedSeconds` after its estimate was made. Null where one number is enough: the range is narrow,
 * its ends read the same, it is not known, or the estimated time is over. Seconds and minutes are rounded up, as everywhere;
 * hours and days to the next half, or from ten on to whole ones. The ends are rounded outwards, so that the range holds at least as
 * often as it says.
 */
export const leftRange = (estimate: Estimate, passedSeconds: number): LeftRange | null => {
  const { etaSeconds, etaLowSeconds, etaHighSeconds } = estimate
  if (etaSeconds == null || etaLowSeconds == null || etaHighSeconds == null) return null
  const passed = Math.max(0, passedSeconds)
  const [low, seconds, high] = [etaLowSeconds, etaSeconds, etaHighSeconds].map(each => Math.max(0, each - passed)) as [
    number,
    number,
    number,
  ]
  if (seconds === 0 || high < NARROW_FACTOR * low || high - low < NARROW_SECONDS) return null
  const ends = { low: amountOf(low, Math.floor), high: amountOf(high, Math.ceil) }
  if (isSame(ends.low, ends.high)) return null
  return {
    about: amountOf(seconds, Math.ceil, Math.round),
    low: ends.low.value === 0 ? null : ends.low,
    high: ends.high,
  }
}

interface Words {
  /** `12 min` */
  short: (value: number, unit: TimeUnit, write: WriteNumber) => string
  about: (time: string) => string
  between: (low: string, high: string) => string
  upTo: (high: string) => string
  /** For those who listen: each time has its unit, as a whole word. */
  said: (time: string, low: string, high: string) => string
  saidUpTo: (time: string, high: string) => string
}

type WriteNumber = (value: number) => string

const SYMBOLS = { second: 's', minute: 'min', hour: 'h' }

const shortWith =
  (day: string, days: string): Words['short'] =>
  (value, unit, write) =>
    `${write(value)} ${unit !== 'day' ? SYMBOLS[unit] : value === 1 ? day : days}`

const WORDS: Readonly<Record<'en' | 'de' | 'fr', Words>> = {
  en: {
    short: shortWith('day', 'days'),
    about: time => `about ${time}`,
    between: (low, high) => `${low} to ${high}`,
    upTo: high => `up to ${high}`,
    said: (time, low, high) => `about ${time}, probably from ${low} to ${high}`,
    saidUpTo: (time, high) => `about ${time}, probably no more than ${high}`,
  },
  de: {
    short: shortWith('Tag', 'Tage'),
    about: time => `etwa ${time}`,
    between: (low, high) => `${low} bis ${high}`,
    upTo: high => `bis ${high}`,
    said: (time, low, high) => `etwa ${time}, wahrscheinlich ${low} bis ${high}`,
    saidUpTo: (time, high) => `etwa ${time}, wahrscheinlich nicht mehr als ${high}`,
  },
  fr: {
    short: shortWith('jour', 'jours'),
    about: time => `environ ${time}`,
    between: (low, high) => `${low} à ${high}`,
    upTo: high => `jusqu’à ${high}`,
    said: (time, low, high) => `environ ${time}, probablement de ${low} à ${high}`,
    saidUpTo: (time, high) => `environ ${time}, probablement pas plus de ${high}`,
  },
}

const wordsOf = (locale: string): Words => {
  const language = locale.toLowerCase().split('-')[0] ?? ''
  return Object.hasOwn(WORDS, language) ? WORDS[language as keyof typeof WORDS] : WORDS.en
}

/** Making such an object takes two hundred times as long as using it. Who writes many times passes a function that keeps one. */
const writeIn = (locale: string): WriteNumber => {
  const format = new Intl.NumberFormat(locale)
  return value => format.format(value)
}

/**
 * How long something has lasted, or will, in one unit, as people say it: `34 min`. `round` is `Math.floor` for a time that has
 * passed, `Math.ceil` for one that is left, and `Math.round` for a usual one.
 */
export const roughText = (
  seconds: number,
  locale: string,
  round: Round = Math.floor,
  write: WriteNumber = writeIn(locale),
): string => {
  const { value, unit } = amountOf(Math.max(0, seconds), round)
  return wordsOf(locale).short(value, unit, write)
}

/** Below so many seconds, fractions are told: otherwise the times of short jobs would all be 0 s. */
const FRACTIONS_BELOW = 10
const SIGNIFICANT = 2

/** How long something took, or will: `4 min 12 s`, `2 h 5 min`, `3 days 4 h`, the two largest parts, rounded to seconds; `0.12 s`. */
export const durationText = (seconds: number, locale: string, write: WriteNumber = writeIn(locale)): string => {
  const { short } = wordsOf(locale)
  if (seconds < FRACTIONS_BELOW) return short(Number(Math.max(0, seconds).toPrecision(SIGNIFICANT)), 'second', write)
  let rest = Math.round(seconds)
  const counts = UNITS.toReversed().map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return { unit, count }
  })
  return counts
    .slice(counts.findIndex(({ count }) => count > 0))
    .slice(0, 2)
    .filter(({ count }) => count > 0)
    .map(({ unit, count }) => short(count, unit, write))
    .join(' ')
}

/**
 * `about 12 min (9 to 18)`: the ends have units of their own where one differs from the others, as in `about 100 min (70 min to
 * 3 h)`. `locale` is a language tag.
 */
export const rangeText = (
  { about, low, high }: LeftRange,
  locale: string,
  write: WriteNumber = writeIn(locale),
): string => {
  const words = wordsOf(locale)
  const short = ({ value, unit }: Amount): string => words.short(value, unit, write)
  const isOneUnit = (low ?? about).unit === about.unit && high.unit === about.unit
  const end = (amount: Amount): string => (isOneUnit ? write(amount.value) : short(amount))
  const ends = low === null ? words.upTo(end(high)) : words.between(end(low), end(high))
  return `${words.about(short(about))} (${ends})`
}

/** The same for screen readers, without signs that they leave out: `about 12 minutes, probably from 9 minutes to 18 minutes`. */
export const rangeSaid = ({ about, low, high }: LeftRange, locale: string): string => {
  const words = wordsOf(locale)
  const say = ({ value, unit }: Amount): string =>
    new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'long' }).format(value)
  return low === null ? words.saidUpTo(say(about), say(high)) : words.said(say(about), say(low), say(high))
}
