import { createTask, validate, type Logger as CronLogger } from 'node-cron'
import type { Logger } from 'pino'
import { HeadwayError } from '../errors.ts'

export interface Schedule {
  start(): void
  /** Resolves when no run is under way any more. */
  stop(): Promise<void>
}

/** Enough runs to meet the longest gap of an uneven expression: 0 and 50 seconds past, say. */
const RUNS_LOOKED_AT = 13

/**
 * The longest time between two runs of a cron expression (with or without a field for seconds), in seconds. Raises a
 * sentence for a bad one.
 */
export const intervalSecondsOf = (expression: string, setting: string): number => {
  if (!validate(expression)) {
    throw new HeadwayError(
      'validation_failed',
      `The configuration is not usable. ${setting}: "${expression}" is no cron expression.`,
    )
  }
  const runs = createTask(expression, () => undefined).getNextRuns(RUNS_LOOKED_AT)
  const gaps = runs.slice(1).map((run, n) => run.getTime() - (runs[n]?.getTime() ?? 0))
  if (gaps.length === 0) {
    throw new HeadwayError(
      'validation_failed',
      `The configuration is not usable. ${setting}: "${expression}" never comes round.`,
    )
  }
  return Math.max(...gaps) / 1000
}

/** node-cron prints lines of its own to stdout otherwise. That a run is skipped because the last one goes on is no news. */
const cronLogger = (log: Logger): CronLogger => ({
  info: message => log.debug(message),
  warn: message => log.debug(message),
  error: (message, error) => log.error({ err: error ?? message }, 'the schedule failed'),
  debug: (message, error) => log.debug({ err: error }, String(message)),
})

/** Runs `run` by a cron expression, never twice at a time. What it raises is logged as a failure of `name`. */
export const createSchedule = (
  name: string,
  expression: string,
  run: () => Promise<unknown>,
  log: Logger,
): Schedule => {
  let underWay: Promise<unknown> = Promise.resolve()
  const task = createTask(
    expression,
    () => {
      underWay = run().catch((error: unknown) => log.error({ err: error }, `${name} failed`))
      return underWay
    },
    { name, noOverlap: true, suppressMissedWarning: true, unref: true, logger: cronLogger(log) },
  )
  return {
    start() {
      void task.start()
    },
    async stop() {
      await task.destroy()
      await underWay
    },
  }
}
