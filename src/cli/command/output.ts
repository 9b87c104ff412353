import { stripVTControlCharacters } from 'node:util'
import type { Report } from '../../worker/headway.ts'

/** A line that never ends is no line. */
const MAX_LINE_LENGTH = 4_096

/** Calls `onLine` for every line; a carriage return ends one as well, since bars are drawn over themselves by it. */
export const splitLines = (onLine: (line: string) => void): { write(text: string): void; end(): void } => {
  let rest = ''
  return {
    write(text) {
      const lines = (rest + text).split(/[\r\n]+/)
      rest = (lines.pop() ?? '').slice(-MAX_LINE_LENGTH)
      for (const line of lines) if (line !== '') onLine(stripVTControlCharacters(line))
    },
    end() {
      if (rest !== '') onLine(stripVTControlCharacters(rest))
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

const COUNTS = /(\d+)\s*(?:\/|of)\s*(\d+)/g
const PERCENT = /(\d+(?:\.\d+)?)\s?%/g

/** The last `42/100`, `42 of 100` or `42 %` of a line. Counts win: they say more. */
export const readUsualProgress: ReadProgress = line => {
  for (const [, done, total] of [...line.matchAll(COUNTS)].reverse()) {
    if (Number(total) > 0 && Number(done) <= Number(total))
      return { processedCount: Number(done), totalCount: Number(total) }
  }
  const percent = [...line.matchAll(PERCENT)].at(-1)?.[1]
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
