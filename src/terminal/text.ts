import stringWidth from 'string-width'

/**
 * Characters by which a text could control a terminal or mislead its reader: control characters, bidirectional and other
 * invisible marks, line separators, halves of surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu

/** A text as one line without such characters. Each is replaced by a space, so that words stay apart. */
export const printable = (text: string): string => text.replaceAll(UNPRINTABLE, ' ').replaceAll(/ {2,}/g, ' ').trim()

/** The same for a text with several lines, such as a stack: line ends and indentation stay. */
export const printableLines = (text: string): string[] =>
  text.split(/\r\n|[\n\r]/).map(line => line.replaceAll('\t', '    ').replaceAll(UNPRINTABLE, ' ').trimEnd())

const escaped = (characters: string): string =>
  characters.replaceAll(/[^]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** A document as one line of JSON without such characters. */
export const jsonLine = (document: object): string => JSON.stringify(document).replaceAll(UNPRINTABLE, escaped)

/** A value as lines of JSON, for people. */
export const jsonLines = (value: unknown): string[] =>
  JSON.stringify(value, null, 2)
    .split('\n')
    .map(line => line.replaceAll(UNPRINTABLE, escaped))

const PLAIN = /^[\x20-\x7e]*$/

/** How many columns of a terminal a text takes: two for a Chinese character or an emoji, none for a combining accent. */
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

/** At most `width` columns of a text: the beginning, or the end if that says more (`from: 'end'`). */
export const shorten = (
  text: string,
  width: number,
  { ellipsis = '…', from = 'start' }: { ellipsis?: string; from?: 'start' | 'end' } = {},
): string => {
  if (widthOf(text) <= width) return text
  if (width <= 0) return ''
  return from === 'start' ? cut(text, width - 1) + ellipsis : ellipsis + reversed(cut(reversed(text), width - 1))
}
