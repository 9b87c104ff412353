import { IntlMessageFormat } from 'intl-messageformat'
import { en } from './messages/en.ts'
import type { MessageKey, Messages } from './messages/en.ts'

const LANGUAGES: Readonly<Record<string, () => Promise<Messages>>> = {
  en: async () => en,
  de: async () => (await import('./messages/de.ts')).de,
  fr: async () => (await import('./messages/fr.ts')).fr,
}

let messages: Messages = en
let locale = 'en'
const formats = new Map<MessageKey, IntlMessageFormat>()

/** Takes the first of the visitor's languages that there are words in. Call it before anything is rendered. */
export const chooseLanguage = async (wanted: readonly string[]): Promise<void> => {
  for (const tag of wanted) {
    const language = tag.toLowerCase().split('-')[0] ?? ''
    const load = LANGUAGES[language]
    if (load === undefined) continue
    messages = await load()
    // The whole tag: numbers and dates are written differently in de-CH and de-DE.
    locale = tag
    document.documentElement.lang = language
    return
  }
}

type Values = Record<string, string | number>

/** A text of the message files, with its values filled in. */
export const text = (key: MessageKey, values?: Values): string => {
  let format = formats.get(key)
  if (format === undefined) {
    format = new IntlMessageFormat(messages[key], locale)
    formats.set(key, format)
  }
  return format.format(values) as string
}

const numberFormats = new Map<string, Intl.NumberFormat>()

const numberFormat = (options: Intl.NumberFormatOptions): Intl.NumberFormat => {
  const key = JSON.stringify(options)
  let format = numberFormats.get(key)
  if (format === undefined) {
    format = new Intl.NumberFormat(locale, options)
    numberFormats.set(key, format)
  }
  return format
}

export const number = (value: number): string => numberFormat({}).format(value)

/** Short, for places with little room: 1.2M. */
export const compact = (value: number): string =>
  value < 10_000 ? number(value) : numberFormat({ notation: 'compact', maximumFractionDigits: 1 }).format(value)

export const percent = (value: number): string => numberFormat({ style: 'percent' }).format(value / 100)

/** A share of 1 with as many digits as a reader needs: 0.5 %, 12 %. */
export const share = (value: number): string =>
  numberFormat({ style: 'percent', maximumFractionDigits: value > 0 && value < 0.1 ? 1 : 0 }).format(value)

const BYTE_UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'petabyte']

/** Bytes by thousands, as their Intl units are. */
export const bytes = (value: number): string => {
  const power = Math.min(BYTE_UNITS.length - 1, value < 1 ? 0 : Math.floor(Math.log10(value) / 3))
  const scaled = value / 1000 ** power
  const maximumFractionDigits = power === 0 || scaled >= 100 ? 0 : 1
  return numberFormat({ style: 'unit', unit: BYTE_UNITS[power] ?? 'byte', maximumFractionDigits }).format(scaled)
}

/** A number that is small or large, with three digits that count. */
export const rate = (value: number): string =>
  value >= 10_000 ? compact(value) : numberFormat({ maximumSignificantDigits: value < 1000 ? 3 : 4 }).format(value)

const PARTS: readonly [unit: string, seconds: number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
]

/** 4m 12s, 2h 5m, 3d 4h: the two largest parts, so that it stays legible at any length. */
export const duration = (seconds: number): string => {
  let rest = Math.max(0, Math.round(seconds))
  const first = PARTS.findIndex(([, size]) => rest >= size)
  const shown = first === -1 ? PARTS.slice(-1) : PARTS.slice(first, first + 2)
  const texts = shown.map(([unit, size], index) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    const needed = index === 0 || count > 0
    return needed ? numberFormat({ style: 'unit', unit, unitDisplay: 'narrow' }).format(count) : ''
  })
  return texts.filter(part => part !== '').join(' ')
}

/** As `duration`, and with fractions below ten seconds: statistics of short jobs would all be 0 s. */
export const preciseDuration = (seconds: number): string =>
  seconds >= 10
    ? duration(seconds)
    : numberFormat({ style: 'unit', unit: 'second', unitDisplay: 'narrow', maximumSignificantDigits: 2 }).format(seconds)

const dateFormats = new Map<string, Intl.DateTimeFormat>()

const dateFormat = (options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat => {
  const key = JSON.stringify(options)
  let format = dateFormats.get(key)
  if (format === undefined) {
    format = new Intl.DateTimeFormat(locale, options)
    dateFormats.set(key, format)
  }
  return format
}

export const timeOfDay = (ms: number): string => dateFormat({ timeStyle: 'medium' }).format(ms)
export const hourAndMinute = (ms: number): string => dateFormat({ timeStyle: 'short' }).format(ms)
export const day = (ms: number): string => dateFormat({ month: 'short', day: 'numeric' }).format(ms)
export const dateAndTime = (ms: number): string => dateFormat({ dateStyle: 'medium', timeStyle: 'medium' }).format(ms)

const isSameDay = (a: number, b: number): boolean => new Date(a).toDateString() === new Date(b).toDateString()

/** The time alone where it was today, else the day as well. */
export const moment = (ms: number, nowMs: number): string =>
  isSameDay(ms, nowMs) ? timeOfDay(ms) : dateFormat({ dateStyle: 'medium', timeStyle: 'short' }).format(ms)
