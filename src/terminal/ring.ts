import { printable, shorten } from './text.ts'

const BELL = '\x07'
/** Longer texts are cut by most notification areas. */
const MAX_COLUMNS = 160

/** Terminals that know both sequences, and would show two notifications: by TERM_PROGRAM, or by the beginning of TERM. */
const KNOW_BOTH = /^(?:(?:xterm-)?ghostty|wezterm|foot)/i

/**
 * A text without anything that would end a sequence or be read as a part of it. It never begins with a digit: some terminals take
 * `OSC 9 ; 4 ; …` and its like for commands and not for a text. In OSC 777 a semicolon would begin the next field.
 */
const safe = (text: string): string => shorten(printable(text).replaceAll(';', ','), MAX_COLUMNS)

/**
 * The bytes by which a terminal says something: a notification by OSC 9 (iTerm2, Windows Terminal, kitty) and by OSC 777 (urxvt,
 * VTE, foot), and the bell for all others. A terminal ignores the sequences that it does not know; a dumb one would show them.
 */
export const ring = (text: string, { TERM = '', TERM_PROGRAM = '' }: NodeJS.ProcessEnv): string => {
  if (TERM === '' || TERM === 'dumb') return BELL
  const said = safe(text)
  const osc9 = `\x1b]9;Headway: ${said}${BELL}`
  const osc777 = `\x1b]777;notify;Headway;${said}${BELL}`
  const knowsBoth = KNOW_BOTH.test(TERM_PROGRAM) || KNOW_BOTH.test(TERM)
  return `${osc9}${knowsBoth ? '' : osc777}${BELL}`
}
