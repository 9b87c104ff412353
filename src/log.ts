import { DrizzleQueryError } from './database/drizzle.ts'
import { pino } from 'pino'
import type { DestinationStream, Logger } from 'pino'
import { causesOf, sqlStateOf } from './database/failures.ts'
import { readableLine } from './readable-log.ts'

/**
 * Characters that JSON leaves as they are, but that mislead readers of a terminal or a log viewer: C1 controls (U+009B begins
 * an escape sequence), U+2028 and similar characters, which some programs take for the end of a line, and marks that change the
 * direction of the text after them.
 */
const MISLEADING = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/**
 * The message of an error. Drizzle ends its messages with the parameters of the statement, which are names of jobs or search
 * texts, so its own are replaced.
 */
const messageOf = (error: Error): string => {
  if (error instanceof DrizzleQueryError) return `Failed query: ${error.query}`
  if (error.message !== '' || !(error instanceof AggregateError)) return error.message
  return error.errors.map(each => (each instanceof Error ? each.message : String(each))).join('; ')
}

/** The frames of a stack, without the message with which Node begins it. */
const framesOf = (error: { stack?: unknown; message: unknown }): string => {
  // Any code may have set `stack` and `message` to any value, and logging an error must not throw.
  const stack = typeof error.stack === 'string' ? error.stack : ''
  const message = typeof error.message === 'string' ? error.message : ''
  const begin = stack.indexOf('\n    at ', stack.includes(message) ? stack.indexOf(message) + message.length : 0)
  return begin === -1 ? '' : stack.slice(begin)
}

/**
 * An error with its causes, without the other properties of error objects: pg adds the row that a statement was about, and some
 * clients add their passwords.
 */
const describeError = (error: unknown): unknown => {
  if (!(error instanceof Error)) return error
  const causes = causesOf(error)
  const { code } = error as { code?: unknown }
  const sqlState = sqlStateOf(error)
  return {
    type: error.constructor.name,
    ...(typeof code === 'string' && { code }),
    ...(sqlState !== null && { sqlState }),
    message: causes.map(messageOf).join(': '),
    stack: causes.map(each => `${each.name}: ${messageOf(each)}${framesOf(each)}`).join('\ncaused by: '),
  }
}

/** Standard output as people read it, where it is a terminal; undefined where it is not. */
export const terminalOutput = (stream: NodeJS.WriteStream): DestinationStream | undefined =>
  stream.isTTY ? { write: line => void stream.write(readableLine(line).replace(MISLEADING, escaped)) } : undefined

/** The log of the process: JSON lines. Text from a caller cannot look like a line of its own, and cannot hide one. */
export const createLog = (level: string, destination?: DestinationStream): Logger =>
  pino(
    {
      level,
      serializers: { err: describeError },
      hooks: { streamWrite: line => line.replace(MISLEADING, escaped) },
    },
    destination,
  )
