import { styleText } from 'node:util'

const LEVELS: Record<number, string> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' }
const STYLES: Record<string, 'dim' | 'cyan' | 'yellow' | 'red'> = {
  trace: 'dim',
  debug: 'dim',
  info: 'cyan',
  warn: 'yellow',
  error: 'red',
  fatal: 'red',
}

interface Entry {
  level: number
  time: number
  msg?: unknown
  err?: { stack?: unknown }
  [field: string]: unknown
}

/** Fields that say the same in every line of one process. */
const LEFT_OUT = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'err'])

/** As in a line of JSON, so that no text can look like a line of its own or drive the terminal; without the quotes around it. */
const inner = (text: unknown): string => JSON.stringify(String(text)).slice(1, -1).replaceAll('\\"', '"')

/** The frames of an error each have a line of their own, behind a margin: no line of the log begins like this. */
const stackOf = (stack: unknown): string =>
  typeof stack === 'string'
    ? stack
        .split('\n')
        .map(line => `\n    ${inner(line.trim())}`)
        .join('')
    : ''

/** One line of the JSON log as people read it in a terminal: time of day, level, message, and the other fields in grey. */
export const readableLine = (line: string): string => {
  const entry = JSON.parse(line) as Entry
  const time = new Date(entry.time).toTimeString().slice(0, 8)
  const level = LEVELS[entry.level] ?? String(entry.level)
  const fields = Object.entries(entry)
    .filter(([name]) => !LEFT_OUT.has(name))
    .map(([name, value]) => ` ${inner(name)}=${JSON.stringify(value)}`)
    .join('')
  const grey = (text: string) => (text === '' ? '' : styleText('dim', text, { validateStream: false }))
  const colour = STYLES[level] ?? 'cyan'
  const head = `${grey(time)} ${styleText(colour, level.padEnd(5), { validateStream: false })}`
  return `${head} ${inner(entry.msg ?? '')}${grey(fields)}${grey(stackOf(entry.err?.stack))}\n`
}
