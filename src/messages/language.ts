import { IntlMessageFormat } from 'intl-messageformat'
import { durationText, roughText } from '../contract/time-left.ts'

export type Values = Record<string, string | number>

const BYTE_UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'petabyte']

/** In some locales the letter for a million is that of a minute: 221m would be ambiguous. */
const DURATION_LETTER = /^[dhms]$/

/** A message without any of these is its own text. */
const ICU_SYNTAX = /[{}']/

const isSameDay = (a: number, b: number): boolean => new Date(a).toDateString() === new Date(b).toDateString()

/**
 * Texts, numbers and times in one language. `messages` are ICU messages. `locale` is a whole tag, because numbers and dates
 * differ between de-CH and de-DE. Objects of Intl are kept, because making them is slow.
 */
export class Language<Key extends string> {
  readonly locale: string
  readonly #messages: Readonly<Record<Key, string>>
  readonly #texts = new Map<Key, IntlMessageFormat>()
  readonly #numbers = new Map<string, Intl.NumberFormat>()
  readonly #dates = new Map<string, Intl.DateTimeFormat>()

  constructor(messages: Readonly<Record<Key, string>>, locale: string) {
    this.#messages = messages
    this.locale = locale
  }

  /** A message with its values filled in. Values are always text, never markup. */
  text(key: Key, values?: Values): string {
    const message = this.#messages[key]
    // Most messages. Reading them would be a sixth of what the scripts of a first page do.
    if (!ICU_SYNTAX.test(message)) return message
    let format = this.#texts.get(key)
    if (format === undefined) {
      // Messages contain no tags, and a tag would be read as markup.
      format = new IntlMessageFormat(message, this.locale, undefined, { ignoreTag: true })
      this.#texts.set(key, format)
    }
    return format.format(values) as string
  }

  number(value: number): string {
    return this.#number({}).format(value)
  }

  /** A short number, for places with little room: 1.2M. */
  compact(value: number): string {
    if (value < 10_000) return this.number(value)
    return this.#number({ notation: 'compact', maximumFractionDigits: 1 })
      .formatToParts(value)
      .map(({ type, value }) => (type === 'compact' && DURATION_LETTER.test(value) ? value.toUpperCase() : value))
      .join('')
  }

  /** A percent from 0 to 100. */
  percent(value: number): string {
    return this.#number({ style: 'percent' }).format(value / 100)
  }

  /** A share of 1 as percent, with as many digits as a reader needs: 0.5 %, 12 %. */
  share(value: number): string {
    const maximumFractionDigits = value > 0 && value < 0.1 ? 1 : 0
    return this.#number({ style: 'percent', maximumFractionDigits }).format(value)
  }

  /** A change as a share of what was before, with its sign: +34 %, −5 %, 0 %. */
  signedShare(value: number): string {
    return this.#number({ style: 'percent', maximumFractionDigits: 0, signDisplay: 'exceptZero' }).format(value)
  }

  /** Bytes in powers of 1000, as Intl's units are. */
  bytes(value: number): string {
    const power = Math.min(BYTE_UNITS.length - 1, value < 1 ? 0 : Math.floor(Math.log10(value) / 3))
    const scaled = value / 1000 ** power
    const maximumFractionDigits = power === 0 || scaled >= 100 ? 0 : 1
    const unit = BYTE_UNITS[power] ?? 'byte'
    return this.#number({ style: 'unit', unit, maximumFractionDigits }).format(scaled)
  }

  /** A number that may be small or large, with three significant digits. */
  rate(value: number): string {
    if (value >= 10_000) return this.compact(value)
    return this.#number({ maximumSignificantDigits: value < 1000 ? 3 : 4 }).format(value)
  }

  /** `4 min 12 s`: see `durationText`. A line may break between the parts, and not within one. */
  duration(seconds: number): string {
    return durationText(seconds, this.locale, value => this.number(value)).replaceAll(/(\d) /g, '$1\u00a0')
  }

  /** `34 min`, in one unit: see `roughText`. */
  rough(seconds: number, round?: (value: number) => number): string {
    return roughText(seconds, this.locale, round, value => this.number(value))
  }

  timeOfDay(ms: number): string {
    return this.#date({ timeStyle: 'medium' }).format(ms)
  }

  hourAndMinute(ms: number): string {
    return this.#date({ timeStyle: 'short' }).format(ms)
  }

  day(ms: number): string {
    return this.#date({ month: 'short', day: 'numeric' }).format(ms)
  }

  /** Of a period that begins at midnight in UTC: in the visitor's time it may begin on the day before. */
  utcDay(ms: number): string {
    return this.#date({ month: 'short', day: 'numeric', timeZone: 'UTC' }).format(ms)
  }

  dateAndTime(ms: number): string {
    return this.#date({ dateStyle: 'medium', timeStyle: 'medium' }).format(ms)
  }

  /** With the weekday, the year and the name of the time zone: nothing is left to guess. */
  fullTime(ms: number): string {
    return this.#date({ dateStyle: 'full', timeStyle: 'long' }).format(ms)
  }

  /** The hour and minute, with the day if it is not today. */
  clock(ms: number, nowMs: number): string {
    if (isSameDay(ms, nowMs)) return this.hourAndMinute(ms)
    const isThisYear = new Date(ms).getFullYear() === new Date(nowMs).getFullYear()
    return this.#date({
      ...(isThisYear ? {} : { year: 'numeric' }),
      month: 'short',
      day: 'numeric',
      hour: 'numeric',
      minute: '2-digit',
    }).format(ms)
  }

  /** Only the time if it was today, otherwise the day as well. */
  moment(ms: number, nowMs: number): string {
    return isSameDay(ms, nowMs)
      ? this.timeOfDay(ms)
      : this.#date({ dateStyle: 'medium', timeStyle: 'short' }).format(ms)
  }

  #number(options: Intl.NumberFormatOptions): Intl.NumberFormat {
    const key = JSON.stringify(options)
    const format = this.#numbers.get(key) ?? new Intl.NumberFormat(this.locale, options)
    this.#numbers.set(key, format)
    return format
  }

  #date(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
    const key = JSON.stringify(options)
    const format = this.#dates.get(key) ?? new Intl.DateTimeFormat(this.locale, options)
    this.#dates.set(key, format)
    return format
  }
}

/** A name within a sentence. It is isolated, so that its writing direction does not affect the text around it. */
export const isolated = (name: string): string => `\u2068${name}\u2069`

/** The first of the wanted tags whose language exists, and that language; null if none does. */
export const firstOf = <Name extends string>(
  wanted: readonly string[],
  names: readonly Name[],
): { tag: string; name: Name } | null => {
  for (const tag of wanted) {
    const name = names.find(name => name === tag.toLowerCase().split('-')[0])
    if (name !== undefined && isTag(tag)) return { tag, name }
  }
  return null
}

/** The `lang` of a page may be any text, and Intl throws for a text that is no tag. */
const isTag = (tag: string): boolean => {
  try {
    return Intl.getCanonicalLocales(tag).length === 1
  } catch {
    return false
  }
}
