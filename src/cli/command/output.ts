import { stripVTControlCharacters } from 'node:util'
import type { Report } from '../../worker/headway.ts'

/** A line that never ends is no line. */
const MAX_LINE_LENGTH = 4_096

/** A line that nothing was added to for so long may be one that waits to be gone on with: `10 %...20 %`. */
const IDLE_MS = 250

/** Bars are drawn over themselves by a carriage return, or by moving the cursor and clearing the line. */
// eslint-disable-next-line no-control-regex -- they are what is looked for
const LINE_END = /(?:[\r\n]|\x1b\[\d*[GK])+/

export interface LineSplitter {
  write(text: string): void
  end(): void
}

/** Calls `onLine` for every line, and `onPart` for one that is not ended for a while. */
export const splitLines = (
  onLine: (line: string) => void,
  onPart: (line: string) => void = () => undefined,
): LineSplitter => {
  let rest = ''
  let idle: NodeJS.Timeout | undefined
  const tell = (line: string, to: (line: string) => void): void => {
    if (line !== '') to(stripVTControlCharacters(line.slice(-MAX_LINE_LENGTH)))
  }
  return {
    write(text) {
      clearTimeout(idle)
      const lines = (rest + text).split(LINE_END)
      rest = (lines.pop() ?? '').slice(-MAX_LINE_LENGTH)
      for (const line of lines) tell(line, onLine)
      if (rest !== '') idle = setTimeout(tell, IDLE_MS, rest, onPart).unref()
    },
    end() {
      clearTimeout(idle)
      tell(rest, onLine)
      rest = ''
    },
  }
}

const MAX_TAIL_LINES = 20

/** The last lines of what was written, for whoever wants to know what went wrong. */
export class Tail {
  readonly #lines: string[] = []

  add(line: string): void {
    this.#lines.push(line)
    if (this.#lines.length > MAX_TAIL_LINES) this.#lines.shift()
  }

  get last(): string {
    return this.#lines.findLast(line => line.trim() !== '')?.trim() ?? ''
  }

  toString(): string {
    return this.#lines.join('\n')
  }
}

export type ReadProgress = (line: string) => Report | null

/** Not the parts of fractions, dates, times or paths: `12.5/20`, `11/25/2026`, `10:12/20:00`, `/v1/2/300`. */
const COUNTS = /(?<!\d|\d[.,:/]|\/)(\d{1,3}(?:,\d{3})+|\d+)\s*(?:\/|of)\s*(\d{1,3}(?:,\d{3})+|\d+)(?![.,:/]?\d|,\d{3})/g
const PERCENT = /(?<!\d)(\d+(?:[.,]\d+)?)\s?%/g

const toNumber = (digits = ''): number => Number(digits.replaceAll(',', ''))

/** The last `42/100`, `42 of 100` or `42 %` of a line. Counts win: they say more. */
export const readUsualProgress: ReadProgress = line => {
  for (const [, done, total] of [...line.matchAll(COUNTS)].reverse()) {
    const report = { processedCount: toNumber(done), totalCount: toNumber(total) }
    if (report.totalCount > 0 && report.processedCount <= report.totalCount) return report
  }
  const percent = [...line.matchAll(PERCENT)].at(-1)?.[1]?.replace(',', '.')
  return percent !== undefined && Number(percent) <= 100 ? { progressPercent: Number(percent) } : null
}

/**
 * Reads progress by a pattern of the user's own: by its groups `done`, `total` and `percent`, or else the first group is the
 * count and the second the total. Raises a `SyntaxError` for a pattern that is none.
 */
export const progressReader = (pattern: string): ReadProgress => {
  const expression = new RegExp(pattern)
  return line => {
    const match = expression.exec(line)
    if (!match) return null
    const {
      percent,
      done = percent === undefined ? match[1] : undefined,
      total = match.groups ? undefined : match[2],
    } = match.groups ?? {}
    const report: Report = {
      ...(done !== undefined && { processedCount: Number(done) }),
      ...(total !== undefined && { totalCount: Number(total) }),
      ...(percent !== undefined && { progressPercent: Number(percent) }),
    }
    return report
  }
}
