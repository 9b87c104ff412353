import { Worker } from 'node:worker_threads'
import type { Report } from '../../worker/headway.ts'
import { PercentColumn } from './column.ts'
import { Course, type CourseOptions } from './course.ts'
import { parseAmount } from './numbers.ts'
import type { PatternMatch } from './pattern.ts'
import { readLine } from './read-line.ts'
import { percentValue } from './series.ts'

/** Reads progress from lines. */
export interface LineReader {
  read(line: string): void
  /** Resolves when all lines have been read, or given up. */
  end(): Promise<void>
}

/** Reads what programs usually write: `42/100`, `42 of 100`, `1.2/10.5 MB`, `42 %`. */
export const usualReader = (options: CourseOptions, onReport: (report: Report) => void): LineReader => {
  const course = new Course(options)
  const column = new PercentColumn()
  return {
    read(line) {
      const report = course.read(readLine(column.read(line)))
      if (report) onReport(report)
    },
    end: () => Promise.resolve(),
  }
}

const isNumber = (value: number | null): value is number => value !== null && !Number.isNaN(value)

/** What a pattern's match says; null where its groups hold no numbers. */
const reportOf = (match: PatternMatch, course: Course): Report | null => {
  const [done = null, total = null, percent = null] = [match.done, match.total, match.percent].map(text =>
    text === undefined ? null : parseAmount(text),
  )
  if (isNumber(done) && isNumber(total) && total > 0 && done <= total)
    return course.take({ done, total, kind: 'count', label: '', place: 0 })
  if (isNumber(percent) && percent <= 100) return course.take(percentValue(percent))
  const report: Report = {
    ...(isNumber(done) && { processedCount: Math.floor(done) }),
    ...(isNumber(total) && !isNumber(done) && { totalCount: Math.round(total) }),
  }
  return Object.keys(report).length > 0 ? report : null
}

/** What a thread is given at once, and how long it may take: an ordinary pattern takes a millisecond. */
const LINES_AT_ONCE = 100
const DEADLINE_MS = 1_000

/** A machine may be busy; but not so often in a row. */
const MAX_TIMEOUTS = 3

/** What waits for the thread: the newest says how far the program is. */
const MAX_WAITING = 1_000

export interface PatternReaderOptions extends CourseOptions {
  pattern: string
  onReport: (report: Report) => void
  /** Hears, as a sentence, that the pattern is too slow. */
  onProblem: (sentence: string) => void
}

/**
 * Reads by a pattern of the user's own, in a thread: `^(a+)+$` takes longer than the sun will shine, and meanwhile the command's
 * output must go on, and a signal be heard.
 */
export const patternReader = ({ pattern, onReport, onProblem, ...options }: PatternReaderOptions): LineReader => {
  const course = new Course(options)
  let waiting: string[] = []
  let thread: Worker | null = null
  let isBusy = false
  let timeouts = 0
  let onIdle: () => void = () => undefined

  const start = async (): Promise<Worker> => {
    const worker = new Worker(new URL('./pattern-thread.js', import.meta.url), { workerData: pattern, execArgv: [] })
    // What ends it is told where it is waited for.
    worker.on('error', () => undefined)
    await new Promise(resolve => worker.once('message', resolve).once('exit', resolve))
    worker.unref()
    return worker
  }
  /** null: it has taken too long, or has died. */
  const ask = (worker: Worker, lines: string[]): Promise<(PatternMatch | null)[] | null> =>
    new Promise(resolve => {
      const timer = setTimeout(resolve, DEADLINE_MS, null)
      const done = (matches: (PatternMatch | null)[] | null): void => {
        clearTimeout(timer)
        resolve(matches)
      }
      worker.once('message', done)
      worker.once('exit', () => done(null))
      worker.postMessage(lines)
    })
  const work = async (): Promise<void> => {
    isBusy = true
    while (waiting.length > 0 && timeouts < MAX_TIMEOUTS) {
      thread ??= await start()
      const lines = waiting.splice(0, LINES_AT_ONCE)
      const matches = await ask(thread, lines)
      if (matches) timeouts = 0
      else {
        await thread.terminate()
        thread = null
        timeouts++
        if (timeouts === 1)
          onProblem('The pattern takes more than a second for a line: what it takes so long for is left out.')
        if (timeouts === MAX_TIMEOUTS) onProblem('The pattern is too slow: progress is not read any more.')
      }
      for (const match of matches ?? []) {
        const report = match && reportOf(match, course)
        if (report) onReport(report)
      }
    }
    isBusy = false
    onIdle()
  }
  return {
    read(line) {
      if (timeouts >= MAX_TIMEOUTS) return
      waiting.push(line)
      if (waiting.length > MAX_WAITING) waiting = waiting.slice(-MAX_WAITING / 2)
      if (!isBusy) void work()
    },
    async end() {
      if (isBusy) await new Promise<void>(resolve => (onIdle = resolve))
      await thread?.terminate()
    },
  }
}
