import stringWidth from 'string-width'
import { isFinished } from '../contract/states.ts'
import type { BadgeState } from '../jobs/badges/badges.ts'

/** White text has a contrast of at least 4.5 with each of them. */
const GREY = '#5c6675'
const BLUE = '#3a50d9'
const GROUNDS: Readonly<Record<string, string>> = { completed: '#15794a', failed: '#c1262d' }

/** The width of a column of text in pixels, in Verdana of 11 pixels, which is wider than most fonts. */
const COLUMN = 7
const PADDING = 6
const HEIGHT = 20

/** Characters that XML 1.0 has (section 2.2). With any other, no browser would show the picture. */
const NO_CHARACTER = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

const escaped = (text: string): string =>
  text.replaceAll(NO_CHARACTER, '').replaceAll(/[&<>"']/g, character => ENTITIES[character] ?? '')

/** `42%`, or the status where a percent would say nothing; null: there is no such job. */
export const badgeText = (job: BadgeState | null): string => {
  if (job === null) return 'no job'
  const isUnknown = job.totalCount === null && job.progressPercent === 0
  return job.status === 'running' && !isUnknown ? `${job.progressPercent}%` : job.status
}

/**
 * A badge as a picture: the label, and how far the job is or how it ended. It has no script, no style and no reference to anything
 * else. Its texts have a fixed length, so that they fit in any font.
 */
export const badgeSvg = (job: BadgeState | null, label: string): string => {
  const said = badgeText(job)
  const [left, right] = [label, said].map(text => Math.max(1, stringWidth(text)) * COLUMN)
  const [labelWidth, saidWidth] = [(left ?? 0) + 2 * PADDING, (right ?? 0) + 2 * PADDING]
  const width = labelWidth + saidWidth
  const ground = job === null ? GREY : (GROUNDS[job.status] ?? GREY)
  const done = job === null || isFinished(job) ? 0 : (saidWidth * job.progressPercent) / 100
  const name = escaped(`${label}: ${said}`)
  const word = (text: string, x: number, length: number | undefined) =>
    `<text x="${x}" y="14" textLength="${length ?? 0}" lengthAdjust="spacingAndGlyphs">${escaped(text)}</text>`
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${HEIGHT}" role="img" aria-label="${name}">` +
    `<title>${name}</title>` +
    `<clipPath id="c"><rect width="${width}" height="${HEIGHT}" rx="3"/></clipPath>` +
    `<g clip-path="url(#c)"><rect width="${labelWidth}" height="${HEIGHT}" fill="#3d4654"/>` +
    `<rect x="${labelWidth}" width="${saidWidth}" height="${HEIGHT}" fill="${ground}"/>` +
    (done === 0 ? '' : `<rect x="${labelWidth}" width="${done}" height="${HEIGHT}" fill="${BLUE}"/>`) +
    `</g><g fill="#fff" font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11" aria-hidden="true">` +
    `${word(label, PADDING, left)}${word(said, labelWidth + PADDING, right)}</g></svg>\n`
  )
}
