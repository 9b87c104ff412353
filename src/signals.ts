import type { Logger } from 'pino'

/** npm passes on a signal that the terminal has sent to the whole process group, so it arrives twice within a millisecond. */
const SAME_SIGNAL_MS = 1_000

export interface ShutdownOptions {
  close: () => Promise<void>
  /** The process ends after this time, even if `close` has not resolved. */
  graceSeconds: number
  log: Logger
}

/**
 * Ends the process in order on SIGTERM, SIGINT and SIGHUP (exit code 0), and on errors that nobody caught (exit code 1). A
 * second signal more than a second after the first ends the process at once.
 */
export const closeOnSignals = ({ close, graceSeconds, log }: ShutdownOptions): void => {
  let begunAt: number | null = null
  let exitCode = 0

  const end = async (): Promise<void> => {
    begunAt = performance.now()
    const deadline = setTimeout(() => {
      log.error(`not done after ${graceSeconds} s: exiting`)
      process.exit(1)
    }, graceSeconds * 1000)
    try {
      await close()
    } catch (error) {
      log.error({ err: error }, 'could not shut down in order')
      exitCode = 1
    }
    clearTimeout(deadline)
    process.exit(exitCode)
  }

  const onSignal = (signal: NodeJS.Signals): void => {
    if (begunAt === null) {
      log.info(`${signal}: shutting down`)
      void end()
    } else if (performance.now() - begunAt > SAME_SIGNAL_MS) {
      log.warn(`second ${signal}: exiting at once`)
      process.exit(1)
    }
  }
  const onError = (error: unknown): void => {
    log.fatal({ err: error }, 'an error that nobody caught: shutting down')
    // Also if the process is ending already: the exit code must say that something went wrong.
    exitCode = 1
    if (begunAt === null) void end()
  }

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  process.on('uncaughtException', onError)
  process.on('unhandledRejection', onError)
}
