import type { Unit } from '../../../contract/units.ts'

/** What one line of a program says. */
export interface Found {
  done: number
  /** Absent: the program does not know how much there is to do. */
  total?: number
  kind: 'percent' | 'count' | 'bytes'
}

/** Reads the lines of one run, in their order. Null: the line says nothing of progress. */
export type ReadLine = (line: string) => Found | null

/** How the output of one program is read. */
export interface Preset {
  /** The names of the commands for which the preset is guessed. The first one is the name for `--parse`. */
  commands: readonly [string, ...string[]]
  /** The subcommands for which the preset is guessed; absent: all. */
  subcommands?: RegExp
  /** What is counted. */
  unit?: Unit
  /** The values are those of one file after the other, and not of the whole. */
  isPerFile?: true
  read: () => ReadLine
}

export const percent = (done: number): Found => {
  return { done, total: 100, kind: 'percent' }
}

export const count = (done: number, total?: number): Found => {
  return { done, kind: 'count', ...(total !== undefined && { total }) }
}

export const bytes = (done: number): Found => {
  return { done, kind: 'bytes' }
}
