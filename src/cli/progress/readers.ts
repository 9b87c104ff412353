import { Worker } from 'node:worker_threads'
import type { Unit } from '../../contract/units.ts'
import type { Report } from '../../worker/headway.ts'
import { PercentColumn } from './column.ts'
import { Course, type CourseOptions } from './course.ts'
import { parseAmount } from './numbers.ts'
import type { PatternMatch } from './pattern.ts'
import { readLine } from './read-line.ts'
import { USUAL } from './presets/table.ts'
import type { Form } from './presets/choose.ts'
import type { Found, Preset } from './presets/preset.ts'
import { percentValue, type Value } from './series.ts'

/** Reads progress from lines. */
export interface LineReader {
  read(line: string): void
  /** Resolves when all lines have been read, or given up. */
  end(): Promise<void>
}

/** Reads the usual forms: `42/100`, `42 of 100`, `1.2/10.5 MB`, `42 %`. */
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

/**
 * Reads the output of one program. A value without a total counts until a total is known. A total of the user is what the whole
 * of the program is.
 */
export const presetReader = (
  preset: Preset,
  { total: declared, unit: ownUnit }: CourseOptions,
  onReport: (report: Report) => void,
): LineReader => {
  const unit = ownUnit ?? preset.unit
  const course = new Course({ total: declared, unit })
  const find = preset.read()
  let isTotalKnown = declared !== undefined
  let toldUnit: Unit = unit ?? 'unknown'
  const withoutTotal = ({ done, kind }: Found): Report | null => {
    if (isTotalKnown) return null
    const found: Unit = kind === 'bytes' && ownUnit === undefined ? 'bytes' : (unit ?? 'unknown')
    const isNews = found !== toldUnit
    toldUnit = found
    return { processedCount: Math.floor(done), ...(isNews && { unit: found }) }
  }
  const withTotal = (found: Found, total: number): Report | null => {
    const isShownAsItIs = found.total === undefined || declared === undefined
    const value: Value = isShownAsItIs
      ? { done: Math.min(found.done, total), total, kind: found.kind, label: '', place: 0 }
      : percentValue((100 * found.done) / total)
    const report = preset.isPerFile ? course.take(value) : course.show(value)
    // What was counted until now had another unit.
    if (!report || isTotalKnown) return report
    isTotalKnown = true
    return toldUnit === (unit ?? 'unknown') ? report : { unit: unit ?? 'unknown', ...report }
  }
  return {
    read(line) {
      const found = find(line)
      const total = found?.total ?? declared
      const report = found && (total === undefined ? withoutTotal(found) : withTotal(found, total))
      if (report) onReport(report)
    },
    end: () => Promise.resolve(),
  }
}

const isNumber = (value: number | null): value is number => value !== null && !Number.isNaN(value)

/** The report for a pattern's match; null if its groups contain no numbers. */
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

/** How many lines the thread gets at once, and how long it may take: an ordinary pattern takes a millisecond. */
const LINES_AT_ONCE = 100
const DEADLINE_MS = 1_000

/** The machine may be busy, but not so often in a row. */
const MAX_TIMEOUTS = 3

/** How many lines wait for the thread. Older lines are dropped, because the newest one says how far the program is. */
const MAX_WAITING = 1_000

export interface PatternReaderOptions extends CourseOptions {
  pattern: string
  onReport: (report: Report) => void
  /** Called with a sentence when the pattern is too slow. */
  onProblem: (sentence: string) => void
}

/**
 * Reads lines by the user's own pattern, in a thread. A pattern such as `^(a+)+$` may practically never end, and meanwhile the
 * command's output must be passed on and signals be handled.
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
    // The exit of the thread is handled where its answer is awaited.
    worker.on('error', () => undefined)
    await new Promise(resolve => worker.once('message', resolve).once('exit', resolve))
    worker.unref()
    return worker
  }
  /** null: the thread has taken too long, or has died. */
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

/** Reads lines as `form` says. `total` and `unit` are those of the user. */
export const readerOf = (
  form: Form,
  { onReport, onProblem, ...options }: Omit<PatternReaderOptions, 'pattern'>,
): LineReader => {
  if (form === USUAL) return usualReader(options, onReport)
  if ('preset' in form) return presetReader(form.preset, options, onReport)
  return patternReader({ ...options, pattern: form.pattern, onReport, onProblem })
}
