import { IntlMessageFormat } from 'intl-messageformat'

export type Values = Record<string, string | number>

const BYTE_UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'petabyte']

const PARTS: readonly [unit: string, seconds: number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
]

/** Some countries write a million as they write a minute: 221m. */
const DURATION_LETTER = /^[dhms]$/

const isSameDay = (a: number, b: number): boolean => new Date(a).toDateString() === new Date(b).toDateString()

/**
 * Words, numbers and times in one language: the one place that says how they are written. `messages` are ICU messages; `locale`
 * is a whole tag, since numbers and dates are written differently in de-CH and de-DE. What Intl makes is kept: making it is slow.
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

  /** A message with its values filled in. Values are text, whatever they look like. */
  text(key: Key, values?: Values): string {
    let format = this.#texts.get(key)
    if (format === undefined) {
      // A tag in a message would be markup; none of them has any.
      format = new IntlMessageFormat(this.#messages[key], this.locale, undefined, { ignoreTag: true })
      this.#texts.set(key, format)
    }
    return format.format(values) as string
  }

  number(value: number): string {
    return this.#number({}).format(value)
  }

  /** Short, for places with little room: 1.2M. */
  compact(value: number): string {
    if (value < 10_000) return this.number(value)
    return this.#number({ notation: 'compact', maximumFractionDigits: 1 })
      .formatToParts(value)
      .map(({ type, value }) => (type === 'compact' && DURATION_LETTER.test(value) ? value.toUpperCase() : value))
      .join('')
  }

  /** Of 0 to 100. */
  percent(value: number): string {
    return this.#number({ style: 'percent' }).format(value / 100)
  }

  /** A share of 1 with as many digits as a reader needs: 0.5 %, 12 %. */
  share(value: number): string {
    const maximumFractionDigits = value > 0 && value < 0.1 ? 1 : 0
    return this.#number({ style: 'percent', maximumFractionDigits }).format(value)
  }

  /** Bytes by thousands, as their Intl units are. */
  bytes(value: number): string {
    const power = Math.min(BYTE_UNITS.length - 1, value < 1 ? 0 : Math.floor(Math.log10(value) / 3))
    const scaled = value / 1000 ** power
    const maximumFractionDigits = power === 0 || scaled >= 100 ? 0 : 1
    const unit = BYTE_UNITS[power] ?? 'byte'
    return this.#number({ style: 'unit', unit, maximumFractionDigits }).format(scaled)
  }

  /** A number that is small or large, with three digits that count. */
  rate(value: number): string {
    if (value >= 10_000) return this.compact(value)
    return this.#number({ maximumSignificantDigits: value < 1000 ? 3 : 4 }).format(value)
  }

  /** 4m 12s, 2h 5m, 3d 4h: the two largest parts, so that it stays legible at any length. */
  duration(seconds: number): string {
    let rest = Math.max(0, Math.round(seconds))
    const first = PARTS.findIndex(([, size]) => rest >= size)
    const shown = first === -1 ? PARTS.slice(-1) : PARTS.slice(first, first + 2)
    const texts = shown.map(([unit, size], index) => {
      const count = Math.floor(rest / size)
      rest -= count * size
      if (index > 0 && count === 0) return ''
      // A line may end between the parts, and not within one.
      return this.#number({ style: 'unit', unit, unitDisplay: 'narrow' }).format(count).replaceAll(' ', '\u00a0')
    })
    return texts.filter(part => part !== '').join(' ')
  }

  /** As `duration`, and with fractions below ten seconds: statistics of short jobs would all be 0 s. */
  preciseDuration(seconds: number): string {
    if (seconds >= 10) return this.duration(seconds)
    const digits = { style: 'unit', unit: 'second', unitDisplay: 'narrow', maximumSignificantDigits: 2 } as const
    return this.#number(digits).format(seconds)
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

  dateAndTime(ms: number): string {
    return this.#date({ dateStyle: 'medium', timeStyle: 'medium' }).format(ms)
  }

  /** The time alone where it was today, else the day as well. */
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

/** A name amid a sentence: whichever way it is written, and whatever it holds, it turns nothing around it. */
export const isolated = (name: string): string => `\u2068${name}\u2069`

/** The first of the wanted tags whose language is there, and that language; null where none is. */
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

/** What a page writes into `lang` may be anything, and Intl raises for what is no tag. */
const isTag = (tag: string): boolean => {
  try {
    return Intl.getCanonicalLocales(tag).length === 1
  } catch {
    return false
  }
}
