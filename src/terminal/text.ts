import stringWidth from 'string-width'

/**
 * Everything by which text could drive a terminal or hide what it is: control characters, bidirectional and other invisible
 * marks, line separators, halves of surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu

/** Text of others as one line that does nothing but stand there. What is left out leaves a space, so that words stay words. */
export const printable = (text: string): string => text.replaceAll(UNPRINTABLE, ' ').replaceAll(/ {2,}/g, ' ').trim()

/** The same of text that has lines, such as a stack: its lines and what they are set in by stay. */
export const printableLines = (text: string): string[] =>
  text.split(/\r\n|[\n\r]/).map(line => line.replaceAll('\t', '    ').replaceAll(UNPRINTABLE, ' ').trimEnd())

const escaped = (characters: string): string =>
  characters.replaceAll(/[^]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** A document as one line of JSON that does nothing to a terminal either. */
export const jsonLine = (document: object): string => JSON.stringify(document).replaceAll(UNPRINTABLE, escaped)

/** A value as lines of JSON, for people. */
export const jsonLines = (value: unknown): string[] =>
  JSON.stringify(value, null, 2)
    .split('\n')
    .map(line => line.replaceAll(UNPRINTABLE, escaped))

const PLAIN = /^[\x20-\x7e]*$/

/** How many columns of a terminal a text takes: two for a character of Chinese or an emoji, none for an accent of its own. */
export const widthOf = (text: string): number => (PLAIN.test(text) ? text.length : stringWidth(text))

/** As much of the beginning as fits into `width` columns. */
export const cut = (text: string, width: number): string => {
  let left = width
  let kept = ''
  for (const character of text) {
    left -= widthOf(character)
    if (left < 0) break
    kept += character
  }
  return kept
}

export const padded = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - widthOf(text)))

const reversed = (text: string): string => Array.from(text).reverse().join('')

/** At most `width` columns of a text: the beginning, or the end where that says more (`from: 'end'`). */
export const shorten = (
  text: string,
  width: number,
  { ellipsis = '…', from = 'start' }: { ellipsis?: string; from?: 'start' | 'end' } = {},
): string => {
  if (widthOf(text) <= width) return text
  if (width <= 0) return ''
  return from === 'start' ? cut(text, width - 1) + ellipsis : ellipsis + reversed(cut(reversed(text), width - 1))
}
