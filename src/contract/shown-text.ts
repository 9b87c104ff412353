/**
 * The rule for texts that name something and are shown within a line: names, job types, stages, units and ids of workers. Such
 * a text has a visible character. It has no character that breaks a line, controls a terminal, is hidden, or changes the
 * direction of the text around it. `headway.is_shown_text` in workers.sql is the same rule, with the same lists.
 */

/**
 * Control characters, ends of lines, marks and embeddings of direction, characters without width, halves of surrogate pairs.
 */
const HIDDEN = String.raw`\p{Cc}\p{Cs}\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e001f}\u{e0080}-\u{e00ff}\u{e01f0}-\u{e0fff}`
/** Spaces of all widths, fillers of Korean, Khmer and Braille. */
const BLANK = String.raw`\s\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0`
/** Selectors, which choose a form of the character before them. */
const SELECTORS = String.raw`\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\u{e0100}-\u{e01ef}`
/** Joiners, which join and separate letters of Persian and of Indian scripts, and join several emojis to one. */
const JOINERS = String.raw`\u200c\u200d`
/** Tags, which spell the code of a region for its flag. */
const TAGS = String.raw`\u{e0020}-\u{e007f}`

const anyOf = (...lists: string[]): string => `[${lists.join('')}]`
const noneOf = (...lists: string[]): string => `[^${lists.join('')}]`

/**
 * A joiner after a blank or ASCII has no meaning, and tags only have one after the black flag. Tags are matched as one run, and
 * the look behind is one character long: with a longer one, the time would grow with the square of the text.
 */
const JOINABLE = noneOf(String.raw`\0-\u007f`, HIDDEN, BLANK, JOINERS, TAGS)
const MISPLACED = String.raw`(?<!${JOINABLE})${anyOf(JOINERS)}|(?<!${anyOf(String.raw`\u{1f3f4}`, TAGS)})${anyOf(TAGS)}+`
const UNSHOWN = new RegExp(`${anyOf(HIDDEN)}|${MISPLACED}`, 'u')
const EVERY_UNSHOWN = new RegExp(UNSHOWN.source, 'gu')
const VISIBLE = new RegExp(noneOf(HIDDEN, BLANK, SELECTORS, JOINERS, TAGS), 'u')

/** Whether a text has a visible character. */
export const isVisible = (text: string): boolean => VISIBLE.test(text)

/** Whether a text has no character that affects the line around it. */
export const isInLine = (text: string): boolean => !UNSHOWN.test(text)

/**
 * The part of a text that can be shown, without blanks at its ends; empty if there is none. A character that breaks a line
 * becomes a space.
 */
export const shownText = (text: string): string => {
  const shown = text
    .replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .replaceAll(EVERY_UNSHOWN, '')
    .trim()
  return isVisible(shown) ? shown : ''
}
