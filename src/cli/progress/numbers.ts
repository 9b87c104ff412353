/** Separators of thousands besides the comma and the dot: apostrophes, underscores, blanks of all kinds. */
const GROUPING = /['’_\s\u00a0\u2009\u202f]/gu

const COMMA_GROUPS = /^[1-9]\d{0,2}(?:,\d{3})+$/
const DOT_GROUPS = /^[1-9]\d{0,2}(?:\.\d{3}){2,}$/

/**
 * A number as people and programs write it: `1200`, `1,200`, `1 200`, `1'200`, `1.200.000`, `42.5`, `42,5`, `1.234,5`. A single
 * comma before three digits separates thousands, a single dot separates decimals. NaN if the text is no number.
 */
export const parseNumber = (text: string): number => {
  const digits = text.trim().replaceAll(GROUPING, '')
  if (COMMA_GROUPS.test(digits)) return Number(digits.replaceAll(',', ''))
  if (DOT_GROUPS.test(digits)) return Number(digits.replaceAll('.', ''))
  const decimal = Math.max(digits.lastIndexOf(','), digits.lastIndexOf('.'))
  if (decimal < 0) return /^\d+$/.test(digits) ? Number(digits) : NaN
  const whole = digits.slice(0, decimal).replaceAll(digits[decimal] === ',' ? '.' : ',', '')
  const rest = digits.slice(decimal + 1)
  return /^\d*$/.test(whole) && /^\d+$/.test(rest) ? Number(`${whole}.${rest}`) : NaN
}

/** The units that may follow a number, of sizes and of time: `12.5/60.0 s`. */
export const UNIT = '(?:[kKMGTPE]i?[Bb]?|[Bb](?:ytes?)?|s(?:ecs?|econds?)?|min|h)(?![\\p{L}\\d])'

const POWERS = 'kmgtpe'

/** How many of the smallest unit one `unit` is: powers of 1024 for KiB, and of 1000 for kB. */
export const factorOf = (unit: string): number => {
  const [first = ''] = unit.toLowerCase()
  const power = unit === '' || /^(?:s|min|h)/.test(unit) ? 0 : POWERS.indexOf(first) + 1
  return (unit[1] === 'i' ? 1024 : 1000) ** power
}

export const isBytes = (unit: string): boolean => /b$|^bytes?$/i.test(unit)

/** A number, with or without a unit: `10.5 MiB`. NaN if the text is none. */
export const parseAmount = (text: string): number => {
  const [, number = '', unit] = new RegExp(`^(.*?\\d)\\s*(${UNIT})?$`, 'u').exec(text.trim()) ?? []
  return parseNumber(number) * (unit === undefined ? 1 : factorOf(unit))
}
