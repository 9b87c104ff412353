import type { FastifyBaseLogger } from 'fastify'

type Level = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'

/**
 * The log of one request: every line of it names the request, those that Fastify writes by itself included. Made for every
 * heartbeat, so the child logger, which would cost as much as a validation, comes only with a line.
 */
export class RequestLog {
  readonly #log: FastifyBaseLogger
  readonly #bindings: object

  constructor(log: FastifyBaseLogger, bindings: object) {
    this.#log = log
    this.#bindings = bindings
  }

  get level(): string {
    return this.#log.level
  }

  child(bindings: object): FastifyBaseLogger {
    return this.#log.child({ ...this.#bindings, ...bindings })
  }

  fatal(...line: unknown[]): void {
    this.#write('fatal', line)
  }
  error(...line: unknown[]): void {
    this.#write('error', line)
  }
  warn(...line: unknown[]): void {
    this.#write('warn', line)
  }
  info(...line: unknown[]): void {
    this.#write('info', line)
  }
  debug(...line: unknown[]): void {
    this.#write('debug', line)
  }
  trace(...line: unknown[]): void {
    this.#write('trace', line)
  }
  silent(): void {
    // As the name says.
  }

  #write(level: Level, line: unknown[]): void {
    const log = this.child({})
    Reflect.apply(log[level], log, line)
  }
}
