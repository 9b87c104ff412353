import type { WriteStream } from 'node:tty'
import { createLogUpdate } from 'log-update'

/** Often enough for a time that counts down. */
const REDRAW_MS = 200
const PLAIN_LINE_MS = 2_000

/** Where a picture is drawn. */
export interface Paper {
  columns: number
  rows: number
  colour: boolean
  /** Whether the terminal's encoding has block characters. */
  unicode: boolean
}

/** What is shown. */
export interface Picture {
  /** The present state, as lines no longer than the paper is wide, and fewer than it is high. */
  draw(paper: Paper): string[]
  /** The present state, as lines of a log by the name of their subject. A line is written when it has changed. */
  describe(): ReadonlyMap<string, string>
}

export interface Screen {
  /** Writes a line that stays. */
  say(line: string): void
  /** Shows the newest state, and stops. */
  end(): void
}

const hasUnicode = ({ LC_ALL, LC_CTYPE, LANG }: NodeJS.ProcessEnv): boolean =>
  process.platform === 'win32' || /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')

/** Whether the terminal has colours, and NO_COLOR (https://no-color.org) does not forbid them. */
export const hasColours = (output: WriteStream): boolean =>
  output.isTTY && !process.env['NO_COLOR'] && output.hasColors()

/** Under `script`, in containers and in CI a terminal may say that its size is 0. */
const DEFAULT_COLUMNS = 80
const DEFAULT_ROWS = 24

/** A terminal with a size, for log-update, which draws nothing in 0 rows. */
const sized = (output: WriteStream) => ({
  isTTY: true,
  get columns() {
    return output.columns || DEFAULT_COLUMNS
  },
  get rows() {
    return output.rows || DEFAULT_ROWS
  },
  write: (text: string): boolean => output.write(text),
})

const showPicture = (picture: Picture, output: WriteStream): Screen => {
  const terminal = sized(output)
  const log = createLogUpdate(terminal as unknown as NodeJS.WritableStream)
  const show = (): void => {
    const { columns, rows } = terminal
    const paper = { columns: Math.max(columns, 10), rows, colour: hasColours(output), unicode: hasUnicode(process.env) }
    log(picture.draw(paper).join('\n'))
  }
  const timer = setInterval(show, REDRAW_MS)
  show()
  return {
    say: line => log.persist(line),
    end() {
      clearInterval(timer)
      show()
      log.done()
    },
  }
}

/** Writes a line now and then, for logs and pipes. */
const showLines = (picture: Picture, output: NodeJS.WritableStream): Screen => {
  let last: ReadonlyMap<string, string> = new Map()
  const show = (): void => {
    const now = new Map(picture.describe())
    for (const [about, line] of now) if (last.get(about) !== line) output.write(`${line}\n`)
    last = now
  }
  const timer = setInterval(show, PLAIN_LINE_MS)
  return {
    say: line => void output.write(`${line}\n`),
    end() {
      clearInterval(timer)
      show()
    },
  }
}

/** Shows a picture until it is ended. In a terminal it is drawn again and again; elsewhere it becomes lines. */
export const startScreen = (picture: Picture, output: NodeJS.WriteStream): Screen =>
  output.isTTY && process.env['TERM'] !== 'dumb' ? showPicture(picture, output) : showLines(picture, output)
