import { createTask, validate } from 'node-cron'
import type { Logger } from 'pino'
import { HeadwayError } from '../contract/errors.ts'

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

/** Node's timers take no longer ones. */
const LONGEST_TIMER_MS = 2 ** 31 - 1
/** A run that is nearer than this part of the interval is the one that has just been: a timer may be early by the wall clock. */
const TOO_NEAR = 0.1

/**
 * Runs `run` by a cron expression, never twice at a time. What it raises is logged as a failure of `name`.
 *
 * The wall clock says when the next run is due, once, after each run. It is waited for by a clock that nobody sets, and for no
 * longer than two runs are ever apart: whoever sets the wall clock, ahead or back, moves one run by at most that.
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
    // One that takes longer than the interval goes on, and this turn is left out.
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
