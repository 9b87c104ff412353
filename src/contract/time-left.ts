// How the time that a job may still take is shown, as one number and its range: the dashboard, the elements and terminals show the
// same numbers.

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
  short: (value: string, unit: TimeUnit) => string
  about: (time: string) => string
  between: (low: string, high: string) => string
  upTo: (high: string) => string
  /** For those who listen: each time has its unit, as a whole word. */
  said: (time: string, low: string, high: string) => string
  saidUpTo: (time: string, high: string) => string
}

const SYMBOLS = { second: 's', minute: 'min', hour: 'h' }

/** `day` is the word for days: a number of them is never one. */
const shortWith =
  (day: string): Words['short'] =>
  (value, unit) =>
    `${value} ${unit === 'day' ? day : SYMBOLS[unit]}`

const WORDS: Readonly<Record<'en' | 'de' | 'fr', Words>> = {
  en: {
    short: shortWith('days'),
    about: time => `about ${time}`,
    between: (low, high) => `${low} to ${high}`,
    upTo: high => `up to ${high}`,
    said: (time, low, high) => `about ${time}, probably from ${low} to ${high}`,
    saidUpTo: (time, high) => `about ${time}, probably no more than ${high}`,
  },
  de: {
    short: shortWith('Tage'),
    about: time => `etwa ${time}`,
    between: (low, high) => `${low} bis ${high}`,
    upTo: high => `bis ${high}`,
    said: (time, low, high) => `etwa ${time}, wahrscheinlich ${low} bis ${high}`,
    saidUpTo: (time, high) => `etwa ${time}, wahrscheinlich nicht mehr als ${high}`,
  },
  fr: {
    short: shortWith('jours'),
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

type WriteNumber = (value: number) => string

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
  return wordsOf(locale).short(write(value), unit)
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
  const short = ({ value, unit }: Amount): string => words.short(write(value), unit)
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
