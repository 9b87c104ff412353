import { shownText } from '../../contract/shown-text.ts'

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' })

/**
 * At most `max` UTF-16 code units of the part of a text that can be shown, on one line. It is cut between characters as people see
 * them. `shownText` leaves out control characters and marks of direction.
 */
export const shortText = (text: string, max: number): string => {
  // A text of a worker may have thousands of characters, of which most are cut off anyway.
  const shown = shownText(text.slice(0, 8 * max).toWellFormed())
  if (shown.length <= max) return shown
  let kept = ''
  for (const { segment } of segmenter.segment(shown)) {
    if (kept.length + segment.length > max - 1) break
    kept += segment
  }
  // One character may be longer than all that there is room for: a letter with a thousand accents.
  return `${
    kept === ''
      ? shown
          .slice(0, max - 1)
          .toWellFormed()
          .replace(/\ufffd$/, '')
      : kept.trimEnd()
  }…`
}

const BYTE_UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'petabyte']

/** Bytes in powers of 1000. */
export const bytesText = (bytes: number, locale: string): string => {
  const power = Math.min(BYTE_UNITS.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3))
  const unit = BYTE_UNITS[power] ?? 'byte'
  return new Intl.NumberFormat(locale, {
    style: 'unit',
    unit,
    maximumFractionDigits: power === 0 ? 0 : 1,
  }).format(bytes / 1000 ** power)
}

const BAR_WIDTH = 12

/** `▓▓▓▓░░░░░░░░`, by whole signs: full only at 100. */
export const barText = (percent: number): string => {
  const done = Math.floor((Math.min(Math.max(percent, 0), 100) / 100) * BAR_WIDTH)
  return '▓'.repeat(done) + '░'.repeat(BAR_WIDTH - done)
}
