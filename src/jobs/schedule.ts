import { createTask, validate } from 'node-cron'
import type { Logger } from 'pino'
import { HeadwayError } from '../contract/errors.ts'

export interface Schedule {
  start(): void
  /** Resolves when no run is in progress. */
  stop(): Promise<void>
}

/** Number of runs to compare: enough to include the longest gap of an uneven expression, such as 0 and 50 seconds past. */
const RUNS_LOOKED_AT = 13

/**
 * The longest time between two runs of a cron expression (with or without a field for seconds), in seconds. Raises
 * `validation_failed` for a bad expression.
 */
export const intervalSecondsOf = (expression: string, setting: string): number => {
  if (!validate(expression)) {
    throw new HeadwayError(
      'validation_failed',
      `The configuration is not usable. ${setting}: "${expression}" is not a cron expression.`,
    )
  }
  const runs = createTask(expression, () => undefined).getNextRuns(RUNS_LOOKED_AT)
  const gaps = runs.slice(1).map((run, n) => run.getTime() - (runs[n]?.getTime() ?? 0))
  if (gaps.length === 0) {
    throw new HeadwayError(
      'validation_failed',
      `The configuration is not usable. ${setting}: "${expression}" never runs.`,
    )
  }
  return Math.max(...gaps) / 1000
}

/** The longest time that Node's timers take. */
const LONGEST_TIMER_MS = 2 ** 31 - 1
/**
 * A timer may fire early by the wall clock. A due time that is nearer than this part of the interval is the run that has just
 * begun.
 */
const TOO_NEAR = 0.1

/**
 * Runs `run` by a cron expression, never twice at the same time. An error is logged as a failure of `name`.
 *
 * After each run, the wall clock says once when the next one is due. A monotonic clock then measures the time until that, at
 * most the longest time between two runs. So a change of the wall clock moves one run, by that time at most.
 */
export const createSchedule = (
  name: string,
  expression: string,
  run: () => Promise<unknown>,
  log: Logger,
): Schedule => {
  const intervalMs = intervalSecondsOf(expression, name) * 1000
  const task = createTask(expression, () => undefined)
  let underWay: Promise<unknown> | null = null
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  const nextDelayMs = (leastMs: number): number => {
    const now = Date.now()
    const next = task.getNextRuns(2).find(due => due.getTime() - now > leastMs)
    return Math.min(next ? next.getTime() - now : intervalMs, intervalMs)
  }

  const begin = (): void => {
    // A run that takes longer than the interval goes on, and the run that is due now is left out.
    underWay ??= run()
      .catch((error: unknown) => log.error({ err: error }, `${name} failed`))
      .finally(() => (underWay = null))
  }

  const waitUntil = (dueMs: number): void => {
    const leftMs = dueMs - performance.now()
    timer = setTimeout(
      () => {
        if (stopped) return
        if (performance.now() < dueMs) {
          waitUntil(dueMs)
          return
        }
        begin()
        waitUntil(performance.now() + nextDelayMs(intervalMs * TOO_NEAR))
      },
      Math.min(Math.max(1, leftMs), LONGEST_TIMER_MS),
    ).unref()
  }

  return {
    start() {
      waitUntil(performance.now() + nextDelayMs(0))
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await underWay
    },
  }
}
