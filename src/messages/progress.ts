import { durationText } from '../contract/time-left.ts'
import { de } from './de.ts'
import { en } from './en.ts'
import type { MessageKey, Messages } from './en.ts'
import { fr } from './fr.ts'
import { firstOf, Language } from './language.ts'

export type ProgressLanguage = Language<MessageKey>

export const PROGRESS_MESSAGES: Readonly<Record<'en' | 'de' | 'fr', Messages>> = { en, de, fr }

const languages = new Map<string, ProgressLanguage>()

/** The language of the elements: the first wanted one that exists, or English. */
export const progressLanguage = (wanted: readonly string[]): ProgressLanguage => {
  const { tag, name } = firstOf(wanted, ['en', 'de', 'fr'] as const) ?? { tag: 'en', name: 'en' as const }
  const language = languages.get(tag) ?? new Language(PROGRESS_MESSAGES[name], tag)
  languages.set(tag, language)
  return language
}

/** The time left: exact when it is short, rounded up when it is long. */
export const remainingText = (language: ProgressLanguage, seconds: number): string => {
  const whole = Math.max(0, Math.ceil(seconds))
  if (whole < 60) return language.text('progress.eta.seconds', { count: language.number(whole) })
  const minutes = Math.ceil(whole / 60)
  if (minutes < 60) return language.text('progress.eta.minutes', { count: language.number(minutes) })
  const time = durationText(60 * minutes, language.locale, value => language.number(value))
  return language.text('progress.eta.left', { time })
}
