import type { Unit } from '../../../contract/units.ts'
import { problemOf } from '../pattern.ts'
import { guessPreset } from './guess.ts'
import type { Preset } from './preset.ts'
import { PRESET_NAMES, presetOf, USUAL } from './table.ts'

/** How output is read: by the usual forms, as a program writes it, or by a pattern of the user. */
export type Form = 'usual' | { preset: Preset } | { pattern: string }

/**
 * What is wrong with what `--parse` was given; null: nothing. A name is told from a pattern by its brackets: a pattern has a
 * group, and no name has.
 */
export const problemOfForm = (text: string): string | null => {
  const problem = text === USUAL || presetOf(text) ? null : problemOf(text)
  if (problem === null || !/^[\w-]+$/.test(text)) return problem
  return `It is none of ${PRESET_NAMES.join(', ')}, and as a pattern: ${problem}`
}

/** How the output of a command is read; `text` is what `--parse` was given, and true if it was given nothing. */
export const formFor = (text: string | true, words: readonly string[]): Form => {
  if (text === USUAL) return USUAL
  const preset = text === true ? guessPreset(words) : presetOf(text)
  if (preset) return { preset }
  return text === true ? USUAL : { pattern: text }
}

/** What the program counts; null: it does not say. */
export const unitOf = (form: Form): Unit | null =>
  form !== USUAL && 'preset' in form ? (form.preset.unit ?? null) : null
