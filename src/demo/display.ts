import type { WriteStream } from 'node:tty'
import { stripVTControlCharacters } from 'node:util'
import { render, renderPlain, type Paper, type View } from './view.ts'

/** Often enough for an ETA that counts down. */
const REDRAW_MS = 200
const PLAIN_LINE_MS = 2_000

const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
const NO_WRAP = '\x1b[?7l'
const WRAP = '\x1b[?7h'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'

export interface Display {
  /** Shows the newest view, and stops. */
  end(): void
}

const hasUnicode = ({ LC_ALL, LC_CTYPE, LANG }: NodeJS.ProcessEnv): boolean =>
  process.platform === 'win32' || /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')

const showPicture = (read: () => View, output: WriteStream): Display => {
  const paper = (): Paper => ({
    columns: Math.max(output.columns, 10),
    rows: output.rows,
    colour: !process.env.NO_COLOR && output.hasColors(),
    unicode: hasUnicode(process.env),
  })
  let drawn: string[] = []
  /** A terminal that has become narrower has wrapped what was drawn: it takes more rows now than lines. */
  const rowsDrawn = (columns: number): number =>
    drawn.reduce((rows, line) => rows + Math.max(1, Math.ceil(stripVTControlCharacters(line).length / columns)), 0)

  const draw = (): void => {
    const now = paper()
    const up = Math.min(rowsDrawn(now.columns), Math.max(now.rows - 1, 0))
    drawn = render(read(), now, Date.now())
    const lines = drawn.map(line => `${CLEAR_LINE}${line}\n`).join('')
    output.write(`${NO_WRAP}${up > 0 ? `\x1b[${up}A` : ''}\r${lines}${CLEAR_BELOW}${WRAP}`)
  }
  const restore = (): void => {
    output.write(SHOW_CURSOR)
  }
  output.write(HIDE_CURSOR)
  process.once('exit', restore)
  const timer = setInterval(draw, REDRAW_MS)
  draw()
  return {
    end() {
      clearInterval(timer)
      process.removeListener('exit', restore)
      draw()
      restore()
    },
  }
}

/** A line now and then, for logs and pipes. */
const showLines = (read: () => View, output: NodeJS.WritableStream): Display => {
  let last = ''
  const show = (): void => {
    const view = read()
    const line = renderPlain(view, Date.now())
    if (view.job && line !== last) output.write(`${line}\n`)
    last = line
  }
  const timer = setInterval(show, PLAIN_LINE_MS)
  return {
    end() {
      clearInterval(timer)
      show()
    },
  }
}

/** Shows what `read` returns until it is ended: as a picture in a terminal, else as lines. */
export const startDisplay = (read: () => View, output: NodeJS.WriteStream): Display =>
  output.isTTY && process.env.TERM !== 'dumb' ? showPicture(read, output) : showLines(read, output)
