import type { FastifyBaseLogger } from 'fastify'

type Level = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'

/**
 * The log of one request. Every line names the request, also the lines that Fastify writes itself. The object is made for every
 * heartbeat. A child logger would cost as much as a validation, so it is only made when a line is written.
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
    // Fastify requires the method; it writes nothing.
  }

  #write(level: Level, line: unknown[]): void {
    const log = this.child({})
    Reflect.apply(log[level], log, line)
  }
}
