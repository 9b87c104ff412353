import type { Fraction } from './read-line.ts'

/**
 * The share from which a part counts as about done, and the share below which it counts as just begun: some programs skip the
 * last line of a part, or the first.
 */
const ABOUT_ALL = 0.9
const BEGINNING = 0.5

/** The largest growth of a total from one line to the next. A value that grows by more belongs to another bar. */
const LARGEST_GROWTH = 2

/** A percent is a count of so many. */
export const HUNDRED = 100

export interface Value {
  done: number
  total: number
  kind: 'percent' | 'count' | 'bytes'
  label: string
  place: number
}

export const percentValue = (percent: number): Value => {
  return { done: percent, total: HUNDRED, kind: 'percent', label: '', place: -1 }
}

export const fractionValue = ({ done, total, unit, label, place }: Fraction): Value => {
  return { done, total, kind: unit ?? 'count', label, place }
}

/** The values of one bar, or of one counter, over the lines of a program. */
export class Series {
  readonly kind: Value['kind']
  readonly first: number
  /** How far the leading series was when this one was first seen, 0..1. */
  readonly beganAt: number
  readonly #label: string
  readonly #place: number
  total: number
  done: number
  /**
   * The series is progress for certain: a value came again and had grown, or a percent agreed with it. A single value may be
   * anything.
   */
  isSure = false
  moves = 0
  #falls = 0
  /** Number of falls that began no part. */
  slips = 0
  /** In lines. */
  seenAt = 0
  movedAt = 0
  movedBeforeAt = 0
  /** The highest value in the present part. */
  #high = 0
  #wasBelow = false
  /** A value before the end has been seen. */
  #hasRun = false

  constructor(value: Value, beganAt: number) {
    this.kind = value.kind
    this.first = value.done
    this.beganAt = beganAt
    this.total = value.total
    this.done = value.done
    this.#label = value.label
    this.#place = value.place
  }

  /** Whether a value belongs to this series. */
  isOf({ kind, total }: Value): boolean {
    return this.kind === kind && this.total === total
  }

  /** Whether a value may belong to this series although its total differs: some programs find more work while they run. */
  mayGrowTo({ kind, total, done, place, label }: Value): boolean {
    const isSamePlace = this.kind === kind && this.#place === place && this.#label === label
    return isSamePlace && done > this.done && total > this.total && total <= this.total * LARGEST_GROWTH
  }

  get part(): number {
    return this.done / this.total
  }

  get isDone(): boolean {
    return this.part >= ABOUT_ALL && this.#hasRun
  }

  get isBeginning(): boolean {
    return this.part < BEGINNING
  }

  get hasBegunAtEnd(): boolean {
    return this.beganAt >= ABOUT_ALL
  }

  /** The values have only grown. */
  get isSteady(): boolean {
    return this.moves > 1 && this.#falls === 0
  }

  /** The values say what is left, and not what is done. */
  get isCountdown(): boolean {
    return this.#falls >= 2 && this.moves === 0
  }

  /**
   * Takes the next value, and answers what it is: `next` begins another part, `below` may be a chance, `fallen` is a lower
   * value for the second time.
   */
  take(value: Value, line: number): 'on' | 'next' | 'below' | 'fallen' {
    const isNext = this.isDone && value.done / value.total < BEGINNING
    if (value.done > this.done) {
      this.moves++
      this.movedBeforeAt = this.movedAt
      this.movedAt = line
      this.isSure = true
    } else if (value.done < this.done) {
      this.#falls++
      if (!isNext) this.slips++
    }
    this.total = value.total
    this.done = value.done
    this.seenAt = line
    this.#hasRun ||= this.part < ABOUT_ALL
    const isBelow = value.done < this.#high && !isNext
    const isFallen = isBelow && this.#wasBelow
    this.#wasBelow = isBelow && !isFallen
    if (!isBelow || isFallen) this.#high = value.done
    if (isNext) return 'next'
    return isFallen ? 'fallen' : isBelow ? 'below' : 'on'
  }
}
