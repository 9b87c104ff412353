import { factorOf, isBytes, parseNumber, UNIT } from './numbers.ts'

/** A fraction such as `42/100` in a line. */
export interface Fraction {
  done: number
  total: number
  unit: 'bytes' | null
  /** By how many percent the fraction may be inexact, because its numbers are rounded. */
  tolerance: number
  /** The word before the fraction. */
  label: string
  /** The place of the fraction among those of the line, from 0. */
  place: number
}

export interface FoundInLine {
  /** 0..100. Of several percents the first one, which is the outermost; of a growing list (`10%...20%`) the newest. */
  percent: number | null
  /** By how much the percent may be inexact. */
  percentTolerance: number
  fractions: Fraction[]
}

const NUMBER = `\\d+(?:[.,'’_\\u00a0\\u2009\\u202f]\\d+)*`
const FRACTION = new RegExp(
  `(?<!\\d[.,'’_]?)(${NUMBER})(?:\\s?(${UNIT}))?\\s*(?:/|\\b(?:out )?of\\b)\\s*(${NUMBER})(?:\\s?(${UNIT}))?`,
  'gu',
)
const PERCENT = /(?<!\d[.,]?)(\d+)(?:[.,](\d+))?\s?%/g

/** Blanks that separate thousands: in both numbers, or where nothing else makes sense (`200/5 000`). */
const BLANK_GROUPS = /(?<![\d.,/]|\d )(\d{1,3}(?: \d{3})*)(\s*(?:\/|\bof\b)\s*)(\d{1,3}(?: \d{3})+)(?!\s*[\d/.,]\d|\d)/g

const joinGroups = (line: string): string =>
  line.replaceAll(BLANK_GROUPS, (whole, done: string, between: string, total: string) => {
    const isSure = done.includes(' ') || / 0/.test(total) || Number(done) > Number(total.split(' ')[0])
    return isSure ? `${done.replaceAll(' ', '')}${between}${total.replaceAll(' ', '')}` : whole
  })

/**
 * Whether a number is part of a name, an address, a path, a date, a time or a version: `eth0/1`, `fe80::1/64`, `/v1/2/3`,
 * `2026-11/27`.
 */
const isInside = (before: string): boolean =>
  /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\d_/\\]$|\d[:'’]$|[\p{L}\d]-$|(?:^|\s)-$|(?:^|[^.])\.$|::\S*$|:[\da-f]*:$/iu.test(
    before,
  )

/**
 * Whether the text after a fraction shows that it is none: `12/345.txt`, `1/2/3`, `1/64:`; a rate (`10/20 MB/s`); a division
 * (`10 MB / 20 MB = 0.5`).
 */
const isGoneOnWith = (after: string): boolean =>
  /^(?:[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\d_/\\]|[.:,'’-][\p{L}\d]|\s*=)/u.test(after)

/** Whether a fraction is a date: `11/27 03:10 …` at the beginning of a line. */
const isDate = (before: string, [first, second]: readonly [number, number], after: string): boolean =>
  /^[[(<\s]*$/.test(before) &&
  first <= 31 &&
  second <= 31 &&
  (first <= 12 || second <= 12) &&
  /^\s+\d{1,2}:\d\d/.test(after)

const decimalsOf = (text: string): number => /[.,](\d+)$/.exec(text)?.[1]?.length ?? 0

/** Whether numbers have dots that separate thousands, as in `1.200/5.000`. */
const areDotted = (...numbers: string[]): boolean =>
  numbers.every(number => /^[1-9]\d{0,2}(?:\.\d{3})+$|^\d{1,3}$/.test(number))

/**
 * How many characters on either side of a number are examined. Otherwise a line of numbers would be read once for each of them.
 */
const NEAR = 40

const around = (line: string, { 0: { length }, index }: RegExpExecArray): [before: string, after: string] => {
  const end = index + length
  return [line.slice(Math.max(0, index - NEAR), index), line.slice(end, end + NEAR)]
}

const toFraction = (line: string, match: RegExpExecArray): Omit<Fraction, 'place'> | null => {
  const [, doneText = '', doneUnit, totalText = '', totalUnit] = match
  const [before, after] = around(line, match)
  if (isInside(before) || isGoneOnWith(after)) return null
  const unit = totalUnit ?? doneUnit
  const isDotted = unit === undefined && totalText.includes('.') && areDotted(doneText, totalText)
  const read = (text: string): number => (isDotted ? Number(text.replaceAll('.', '')) : parseNumber(text))
  const [done, total] = [read(doneText), read(totalText)]
  // Numbers with a dot and without a unit may be versions; sizes with a dot are counts.
  if (unit === undefined && !(Number.isInteger(done) && Number.isInteger(total))) return null
  if (isDate(before, [done, total], after)) return null
  const [doneFactor, totalFactor] = [factorOf(doneUnit ?? unit ?? ''), factorOf(unit ?? '')]
  const [scaledDone, scaledTotal] = [done * doneFactor, total * totalFactor]
  // A count of 1 of 1 says no more than the end of the command.
  if (!(scaledDone <= scaledTotal) || scaledTotal <= 0 || (total === 1 && unit === undefined)) return null
  const off = (text: string, factor: number): number => (unit === undefined ? 0 : factor / 10 ** decimalsOf(text))
  return {
    done: scaledDone,
    total: scaledTotal,
    unit: unit !== undefined && isBytes(unit) ? 'bytes' : null,
    tolerance: (100 * (off(doneText, doneFactor) + off(totalText, totalFactor))) / scaledTotal,
    label: /(\p{L}+)\P{L}*$/u.exec(before)?.[1]?.toLowerCase() ?? '',
  }
}

/** A bar is as wide as a terminal. In a longer line, only the end is read, where the newest values are. */
const LONGEST = 1_000
const MAX_FRACTIONS = 10

/** Whether a line says what is left: `90% of test remaining`, `Remaining: 80 %`. */
const isLeft = (before: string, after: string): boolean =>
  /^\s*(?:of\s[\p{L} ]{1,20}\s)?(?:remaining|remains|left|to go)\b/iu.test(after) ||
  /\b(?:remaining|left)[:=]?\s*$/i.test(before)

const NOTHING: FoundInLine = { percent: null, percentTolerance: 0, fractions: [] }

/** All percents and fractions of a line, without deciding which of them counts. */
export const readLine = (text: string): FoundInLine => {
  if (!/[%/]|\bof\b/.test(text)) return NOTHING
  const line = joinGroups(text.slice(-LONGEST))
  const fractions = [...line.matchAll(FRACTION)]
    .slice(-MAX_FRACTIONS)
    .map(match => toFraction(line, match))
    .filter(fraction => fraction !== null)
    .map((fraction, place) => ({ ...fraction, place }))
  let percent: number | null = null
  let percentTolerance = 1
  let end = 0
  for (const match of line.matchAll(PERCENT)) {
    const [whole, digits, decimals = ''] = match
    const [before, after] = around(line, match)
    const value = Number(`${digits}.${decimals}`)
    if (value > 100 || /[\p{Script=Latin}\d_,+]$|(?:^|\s)-$|(?:^|[^.])\.$/u.test(before) || /^[\dA-Za-z]/.test(after))
      continue
    if (percent !== null && !/^[\s.…·,;:|>-]*$/.test(line.slice(end, match.index))) break
    percent = isLeft(before, after) ? 100 - value : value
    percentTolerance = 10 ** -decimals.length
    end = match.index + whole.length
  }
  return { percent, percentTolerance, fractions }
}
