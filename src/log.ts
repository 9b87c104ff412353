import { DrizzleQueryError } from './database/drizzle.ts'
import { pino } from 'pino'
import type { DestinationStream, Logger } from 'pino'
import { causesOf, sqlStateOf } from './database/failures.ts'

/**
 * What JSON leaves as it is, and terminals and viewers do not: C1 controls (U+009B begins an escape sequence), U+2028 and its
 * like, which end a line for some, and marks that turn the direction of what follows.
 */
const MISLEADING = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`

/** Drizzle ends its message with what the statement was given: names of jobs, or what somebody has searched for. */
const messageOf = (error: Error): string => {
  if (error instanceof DrizzleQueryError) return `Failed query: ${error.query}`
  if (error.message !== '' || !(error instanceof AggregateError)) return error.message
  return error.errors.map(each => (each instanceof Error ? each.message : String(each))).join('; ')
}

/** Without the message, with which Node begins a stack. */
const framesOf = (error: { stack?: unknown; message: unknown }): string => {
  // Anybody may have set them to anything: what cannot be logged must not throw where it is logged.
  const stack = typeof error.stack === 'string' ? error.stack : ''
  const message = typeof error.message === 'string' ? error.message : ''
  const begin = stack.indexOf('\n    at ', stack.includes(message) ? stack.indexOf(message) + message.length : 0)
  return begin === -1 ? '' : stack.slice(begin)
}

/**
 * An error with its causes, and nothing else that hangs on them: pg adds the row that a statement was about, and clients with
 * their passwords.
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

/** The log of the process: JSON lines, in which nothing that came from a caller can pass for a line, or hide one. */
export const createLog = (level: string, destination?: DestinationStream): Logger =>
  pino(
    {
      level,
      serializers: { err: describeError },
      hooks: { streamWrite: line => line.replace(MISLEADING, escaped) },
    },
    destination,
  )
