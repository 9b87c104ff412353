import { cut, widthOf } from './text.ts'

export type Style = 'plain' | 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan'

/** A part of a line. */
export interface Piece {
  text: string
  style: Style
}

const SGR: Record<Style, string> = {
  plain: '',
  bold: '\x1b[1m',
  dim: '\x1b[2m',
  green: '\x1b[32m',
  yellow: '\x1b[33m',
  red: '\x1b[31m',
  cyan: '\x1b[36m',
}

export const piece = (text: string, style: Style = 'plain'): Piece => ({ text, style })

/** One line, cut to the width of the paper, so that the terminal never wraps it. */
export const paint = (pieces: readonly Piece[], { columns, colour }: { columns: number; colour: boolean }): string => {
  let left = columns
  let line = ''
  for (const { text, style } of pieces) {
    const shown = cut(text, left)
    left -= widthOf(shown)
    line += colour && style !== 'plain' && shown !== '' ? `${SGR[style]}${shown}\x1b[0m` : shown
  }
  return line
}

/** The colour of a job's state; other states have none. */
export const STATE_STYLES: Readonly<Record<string, Style>> = {
  completed: 'green',
  failed: 'red',
  cancelled: 'yellow',
  cancelling: 'yellow',
  stalled: 'yellow',
}
