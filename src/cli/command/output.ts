import { stripVTControlCharacters } from 'node:util'

/** A longer line is cut here. */
const MAX_LINE_LENGTH = 4_096

/** An unfinished line that has not grown for so long is read as it is, because it may be continued later: `10 %...20 %`. */
const IDLE_MS = 250

/** The ends of lines. Bars are redrawn by carriage returns and backspaces, or by moving the cursor and clearing lines. */
// eslint-disable-next-line no-control-regex -- they are what is looked for
const LINE_END = /(?:[\r\n\v\f\x08\x85\u2028\u2029]|\x1b\[[\d;]*[ABDEFGHJKSTf]|\x1b[78DEM])+/

/** Moving the cursor to the right stands for blanks. */
// eslint-disable-next-line no-control-regex -- it is what is looked for
const STEP_RIGHT = /\x1b\[\d*C/g

export interface LineSplitter {
  write(text: string): void
  end(): void
}

/** Calls `onLine` for every line, and `onPart` for a line that is not finished for a while. */
export const splitLines = (
  onLine: (line: string) => void,
  onPart: (line: string) => void = () => undefined,
): LineSplitter => {
  let rest = ''
  let idle: NodeJS.Timeout | undefined
  const tell = (line: string, to: (line: string) => void): void => {
    if (line !== '') to(stripVTControlCharacters(line.slice(-MAX_LINE_LENGTH).replaceAll(STEP_RIGHT, ' ')))
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

/** The last lines of output, which may say what went wrong. */
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
