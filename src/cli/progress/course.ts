import type { Unit } from '../../contract/units.ts'
import type { Report } from '../../worker/headway.ts'
import type { FoundInLine, Fraction } from './read-line.ts'
import { fractionValue, HUNDRED, percentValue, Series, type Value } from './series.ts'
import { ShownBar, type Count } from './shown-bar.ts'

/** A limit for programs that write another total in each line. */
const MAX_SERIES = 50

/** How often a percent must fall before it is given up. A single fall may be a chance. */
const SLIPS = 2

export interface CourseOptions {
  /** The total that the user has given. */
  total?: number | undefined
  /** The unit that the user has given. */
  unit?: Unit | undefined
}

/** A value without its place in a line. */
type Whole = Pick<Value, 'done' | 'total' | 'kind'>

type Step = ReturnType<Series['take']>

/**
 * How far a program is, judged by its lines.
 *
 * - The leading value is a percent, or a fraction that comes again with a greater count. A fraction that does not come again is
 *   replaced by either of them.
 * - If a line has a fraction and a percent that contradict each other, the percent counts. If they agree, the fraction counts.
 * - A percent that has fallen twice while a fraction beside it only grew is no progress, but a load or a ratio, for example.
 * - A fall from about all to about nothing begins the next part. If another value counts these parts, it says how many there
 *   are; otherwise there are as many as have begun.
 * - A smaller value that comes only once is ignored.
 *
 * A percent is reported as a count of 100: the service lets a bar fall only if its total grows, and a percent has no total.
 */
export class Course {
  readonly #declared: number | null
  readonly #ownUnit: Unit
  #unit: Unit
  readonly #bar: ShownBar
  readonly #series: Series[] = []
  #line = 0
  #leader: Series | null = null
  /** The series that counts the parts. The leader is one part after the other. */
  #outer: Series | null = null
  /** The number of parts that are done, and the sum of their totals. */
  #parts = 0
  #base = 0
  /** A line has had a fraction that its percent contradicts. Later such a fraction could agree by chance. */
  #hasContradiction = false
  /** Percents of this program are no progress. */
  #ignoresPercents = false

  constructor({ total, unit = 'unknown' }: CourseOptions = {}) {
    this.#declared = total ?? null
    this.#ownUnit = unit
    this.#unit = unit
    this.#bar = new ShownBar(this.#declared)
  }

  /** The report that a line causes; null: none. */
  read({ percent: found, percentTolerance, fractions }: FoundInLine): Report | null {
    const percent = this.#ignoresPercents && fractions.length > 0 ? null : found
    if (percent === null && fractions.length === 0) return null
    this.#line++
    const agrees = (each: Fraction): boolean =>
      Math.abs((100 * each.done) / each.total - (percent ?? 0)) <= percentTolerance + each.tolerance + 1e-9
    const place =
      percent === null ? fractions.length - 1 : this.#hasContradiction ? -1 : fractions.findLastIndex(agrees)
    if (percent !== null && fractions.length > 0 && place < 0) this.#hasContradiction = true
    const noted = fractions.filter((_, index) => index !== place).map(each => this.#note(fractionValue(each)))
    const others = noted.map(each => each.series)
    const main = fractions[place]
    const value = main ? fractionValue(main) : percentValue(percent ?? 0)
    const { series, step } = this.#note(value, percent !== null || value.total === this.#declared)
    // Of two counts in one line, the first one counts the parts, and the second one is the count within a part.
    const [first] = others
    if (percent === null && first && !this.#outer && series.moves > first.moves && first.total !== series.total) {
      this.#outer = first
      this.#leader = series
    }
    if (percent !== null && place < 0) {
      const steady = noted.find(each => each.series.isSteady)
      if (steady && series.slips >= SLIPS) {
        this.#ignoresPercents = true
        this.#leader = steady.series
        return this.#report(steady.series, true)
      }
      // The leader's fraction had agreed with the percent by chance.
      const leader = this.#leader
      if (leader && leader !== this.#outer && this.#parts === 0 && others.includes(leader)) {
        this.#leader = series
        return this.#report(series, true)
      }
    }
    return this.#follow(series, step)
  }

  /** The same for a count or a percent that is certain to be progress. */
  take(value: Value): Report | null {
    this.#line++
    const { series, step } = this.#note(value, true)
    return this.#follow(series, step)
  }

  /** The same for a value of the whole, which may fall. It has no parts, and no other value counts. */
  show(value: Whole): Report {
    return this.#report(value, true)
  }

  #note(value: Value, isSure = false): { series: Series; step: Step } {
    let series = this.#series.find(each => each.isOf(value)) ?? this.#series.find(each => each.mayGrowTo(value))
    if (!series) {
      series = new Series(value, this.#leader?.part ?? 0)
      this.#series.push(series)
      const oldest = this.#series.findIndex(each => each !== this.#leader && each !== this.#outer)
      if (this.#series.length > MAX_SERIES) this.#series.splice(oldest, 1)
    }
    const step = series.take(value, this.#line)
    series.isSure ||= isSure
    return { series, step }
  }

  #follow(main: Series, step: Step): Report | null {
    const leader = this.#leader
    if (main.isCountdown) {
      if (main === leader) this.#leader = null
      return null
    }
    if (main === leader) {
      if (step === 'below') return null
      if (step === 'next') this.#beginPart(main)
      return this.#report(main, step !== 'on')
    }
    if (!leader) {
      this.#leader = main
      return this.#report(main, this.#parts === 0)
    }
    if (main === this.#outer) return this.#report(leader, false)
    if (!this.#outer && this.#parts > 0 && this.#countsParts(main, leader)) {
      this.#outer = main
      return this.#report(leader, true)
    }
    if (!main.isSure || !this.#givesWay(leader, main)) return null
    this.#leader = main
    return this.#report(main, true)
  }

  /** Whether another series replaces the leader; updates the parts if so. */
  #givesWay(leader: Series, main: Series): boolean {
    if (!leader.isSure) return true
    const isLeft = main.moves > 1 && main.movedBeforeAt > leader.movedAt
    if (leader.isDone && main.hasBegunAtEnd && (main.isBeginning || isLeft)) {
      this.#parts++
      // If the leader was of another kind than the next series, its part counts as much as that series.
      this.#base =
        main.kind === leader.kind && main.kind === 'bytes' ? this.#base + leader.total : this.#parts * main.total
      return true
    }
    if (!isLeft) return false
    // The leader stands still while the other series moves, so it counts the parts.
    if (leader.kind === 'count' && !leader.isDone && main.first < main.total) this.#outer ??= leader
    return true
  }

  #beginPart(leader: Series): void {
    this.#parts++
    this.#base += leader.total
    this.#outer ??= this.#series.findLast(each => each !== leader && this.#countsParts(each, leader)) ?? null
  }

  /** Whether a series has moved once with each part. */
  #countsParts({ kind, moves, total, isCountdown }: Series, leader: Series): boolean {
    return (
      kind === 'count' && !isCountdown && total !== leader.total && moves >= this.#parts && moves <= this.#parts + 1
    )
  }

  #countOf(leader: Whole): Count {
    const { done, total, kind } = leader
    const outer = this.#outer
    if (outer) {
      // A series that begins with 1 counts the present part as well, and not only the finished ones.
      const before = outer.done - (outer.first >= 1 && !outer.hasBegunAtEnd ? 1 : 0)
      const isAhead = leader instanceof Series && outer.movedAt > leader.seenAt
      return { done: Math.min(before * total + (isAhead ? 0 : done), outer.total * total), total: outer.total * total }
    }
    if (this.#parts > 0) return { done: this.#base + done, total: this.#base + total }
    if (kind === 'percent' && this.#declared) return { done: (this.#declared * done) / HUNDRED, total: this.#declared }
    return { done, total }
  }

  #report(leader: Whole, mayFall: boolean): Report {
    const count = this.#bar.show(whole(this.#countOf(leader)), mayFall)
    const isPercent = leader.kind === 'percent' && count.total !== this.#declared
    const unit: Unit = isPercent ? 'unknown' : leader.kind === 'bytes' ? 'bytes' : this.#ownUnit
    const isNews = unit !== this.#unit
    this.#unit = unit
    return { processedCount: count.done, totalCount: count.total, ...(isNews && { unit }) }
  }
}

/**
 * Counts are whole numbers. Small totals with decimals, such as seconds, become percents, because rounding would lose too much.
 */
const whole = ({ done, total }: Count): Count =>
  Number.isInteger(total) || total >= 1000 ? { done, total } : { done: (HUNDRED * done) / total, total: HUNDRED }
