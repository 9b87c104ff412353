/**
 * Everything by which text could drive a terminal or hide what it is: control characters, bidirectional and other invisible
 * marks, line separators, halves of surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu

/** Text of others as one line that does nothing but stand there. What is left out leaves a space, so that words stay words. */
export const printable = (text: string): string => text.replaceAll(UNPRINTABLE, ' ').replaceAll(/ {2,}/g, ' ').trim()

/** At most `width` characters, which are code points: the beginning, or the end where that says more (`from: 'end'`). */
export const shorten = (
  text: string,
  width: number,
  { ellipsis = '…', from = 'start' }: { ellipsis?: string; from?: 'start' | 'end' } = {},
): string => {
  const characters = Array.from(text)
  if (characters.length <= width) return text
  if (width <= 0) return ''
  const kept = width - 1
  return from === 'start'
    ? characters.slice(0, kept).join('') + ellipsis
    : ellipsis + characters.slice(characters.length - kept).join('')
}

/** How many characters a text is wide. */
export const widthOf = (text: string): number => Array.from(text).length
