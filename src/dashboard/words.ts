import { rangeSaid, rangeText } from '../contract/time-left.ts'
import type { LeftRange } from '../contract/time-left.ts'
import { firstOf, Language } from '../messages/language.ts'
import type { Values } from '../messages/language.ts'
import { en } from './messages/en.ts'
import type { MessageKey, Messages } from './messages/en.ts'

const LANGUAGES = {
  en: async (): Promise<Messages> => en,
  de: async () => (await import('./messages/de.ts')).de,
  fr: async () => (await import('./messages/fr.ts')).fr,
}

const NAMES = ['en', 'de', 'fr'] as const

let language = new Language<MessageKey>(en, 'en')

/** Loads the first of the visitor's languages that has texts. Call it before anything is rendered. */
export const chooseLanguage = async (wanted: readonly string[]): Promise<void> => {
  const { tag, name } = firstOf(wanted, NAMES) ?? { tag: 'en', name: 'en' as const }
  language = new Language<MessageKey>(await LANGUAGES[name](), tag)
  document.documentElement.lang = name
}

/** A text of the message files, with its values filled in. */
export const text = (key: MessageKey, values?: Values): string => language.text(key, values)

/** Whether a unit has a text in every language. */
export const hasWords = (unit: string): boolean => Object.hasOwn(en, `unit.${unit}`)

/** The unit for a count. A unit without a text is shown as it is, and an unknown one is not shown. */
export const unitText = (unit: string, count: number): string =>
  hasWords(unit) ? text(`unit.${unit}` as MessageKey, { count }) : unit

/** The time left with its range: about 12 min (9 to 18). */
export const range = (left: LeftRange): string => rangeText(left, language.locale, number)
/** The same for screen readers. */
export const rangeInWords = (left: LeftRange): string => rangeSaid(left, language.locale)

export { isolated } from '../messages/language.ts'

// Numbers in the visitor's language: see `Language`.
export const number = (value: number): string => language.number(value)
export const compact = (value: number): string => language.compact(value)
export const percent = (value: number): string => language.percent(value)
export const share = (value: number): string => language.share(value)
export const signedShare = (value: number): string => language.signedShare(value)
export const bytes = (value: number): string => language.bytes(value)
export const rate = (value: number): string => language.rate(value)
export const duration = (seconds: number): string => language.duration(seconds)
/** How long something has lasted, in one unit: 34 min. `round`: see `roughText`. */
export const rough = (seconds: number, round?: (value: number) => number): string => language.rough(seconds, round)
export const timeOfDay = (ms: number): string => language.timeOfDay(ms)
export const hourAndMinute = (ms: number): string => language.hourAndMinute(ms)
export const day = (ms: number): string => language.day(ms)
export const utcDay = (ms: number): string => language.utcDay(ms)
export const dateAndTime = (ms: number): string => language.dateAndTime(ms)
export const fullTime = (ms: number): string => language.fullTime(ms)
export const clock = (ms: number, nowMs: number): string => language.clock(ms, nowMs)
export const moment = (ms: number, nowMs: number): string => language.moment(ms, nowMs)
