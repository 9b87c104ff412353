import { html, nothing, svg } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import type { PeriodStatistics, StatisticsBucket } from '../../contract/statistics.ts'
import { FINISHED_STATUSES } from '../../contract/states.ts'
import { compact, number, duration, text } from '../words.ts'
import { PageElement } from './element.ts'
import { fullPeriod, shortPeriod } from './periods.ts'
import { plainTable } from './plain-table.ts'

/** The drawings have this height, whatever their size on the page, and a width of one for each period. */
const HEIGHT = 100
/** The part of a period that its bar leaves free on each side. */
const MARGIN = 0.1
/** The most labels of the axis of time. */
const LABELS = 5

const jobsOf = (period: PeriodStatistics): number =>
  FINISHED_STATUSES.reduce((total, outcome) => total + period[outcome], 0)

/** 1, 2 or 5 times a power of ten, not less than `value`: the upper end of an axis. */
export const roundUp = (value: number): number => {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find(factor => factor * power >= value) ?? 10) * power
}

const TWO_DAYS = 172_800

/** Times that people count in, and their halves: 1, 2, 5, 10 or 30 minutes and not 16 minutes 40. */
const TIMES = [1, 2, 5, 10, 20, 60, 120, 240, 600, 1_200, 3_600, 7_200, 14_400, 43_200, 86_400]

export const roundUpTime = (seconds: number): number =>
  seconds < 1 ? roundUp(seconds) : (TIMES.find(time => time >= seconds) ?? roundUp(seconds / TWO_DAYS) * TWO_DAYS)

/** Runs of periods in which jobs completed: between them there is no duration to draw. */
export const runsOf = (series: readonly PeriodStatistics[]): number[][] => {
  const runs: number[][] = []
  for (const [n, { durationSeconds }] of series.entries()) {
    if (durationSeconds.p50 === null) continue
    const last = runs.at(-1)
    if (last?.at(-1) === n - 1) last.push(n)
    else runs.push([n])
  }
  return runs
}

/** Outcomes over time as stacked bars, and below them how long completed jobs took, from the median to the 95th percentile. */
class StatisticsChart extends PageElement {
  static override properties: PropertyDeclarations = {
    series: { attribute: false },
    bucket: { attribute: false },
    mark: { attribute: false },
  }

  declare series: readonly PeriodStatistics[]
  declare bucket: StatisticsBucket
  /** The start of a period from which on durations are others. A line is drawn there. */
  declare mark: string | undefined
  /** The period under the pointer. */
  #looked: number | null = null

  #look(event: PointerEvent): void {
    const place = event.currentTarget as Element
    const { left, width } = place.getBoundingClientRect()
    const at = Math.floor(((event.clientX - left) / width) * this.series.length)
    const looked = at >= 0 && at < this.series.length ? at : null
    if (looked === this.#looked) return
    this.#looked = looked
    this.requestUpdate()
  }

  readonly #leave = (): void => {
    this.#looked = null
    this.requestUpdate()
  }

  #readout(): TemplateResult | typeof nothing {
    const period = this.#looked === null ? undefined : this.series[this.#looked]
    if (period === undefined) return nothing
    const { completed, failed, cancelled, late, durationSeconds } = period
    const { p50, p95 } = durationSeconds
    const parts = [
      fullPeriod(period.start, this.bucket),
      text('statistics.outcomes.label', { completed, failed, cancelled, late }),
      ...(p50 === null || p95 === null
        ? []
        : [text('statistics.chart.range', { median: duration(p50), most: duration(p95) })]),
    ]
    return html`<span class="readout">${parts.join(' · ')}</span>`
  }

  #bars(most: number): unknown {
    return this.series.map((period, n) => {
      let top = HEIGHT
      return FINISHED_STATUSES.map(outcome => {
        const height = (HEIGHT * period[outcome]) / most
        top -= height
        return height === 0
          ? nothing
          : svg`<rect data-part=${outcome} x=${n + MARGIN} y=${top} width=${1 - 2 * MARGIN} height=${height}></rect>`
      })
    })
  }

  #marked(): unknown {
    const at = this.series.findIndex(({ start }) => start === this.mark)
    return at === -1 ? nothing : svg`<line data-part="mark" x1=${at} x2=${at} y1="0" y2=${HEIGHT}></line>`
  }

  #band(most: number): unknown {
    const y = (seconds: number | null | undefined) => HEIGHT - (HEIGHT * Math.max(0, seconds ?? 0)) / most
    return runsOf(this.series).map(run => {
      // A run of one period is as wide as its bar.
      const ends = (n: number): number[] => (run.length === 1 ? [n + MARGIN, n + 1 - MARGIN] : [n + 0.5])
      const line = (part: 'p50' | 'p95') =>
        run.flatMap(n => ends(n).map(x => `${x},${y(this.series[n]?.durationSeconds[part])}`))
      const [medians, tops] = [line('p50'), line('p95')]
      return svg`<polygon data-part="band" points=${[...tops, ...[...medians].reverse()].join(' ')}></polygon>
        <polyline data-part="top" points=${tops.join(' ')}></polyline>
        <polyline data-part="median" points=${medians.join(' ')}></polyline>`
    })
  }

  /** The periods that are named below the drawings, at even distances. */
  get #labelled(): number[] {
    const step = Math.max(1, Math.ceil(this.series.length / LABELS))
    return this.series.flatMap((_, n) => (n % step === 0 ? [n] : []))
  }

  #drawing(
    name: 'outcomes' | 'durations',
    label: string,
    most: string,
    middle: string,
    drawn: unknown,
  ): TemplateResult {
    const count = this.series.length
    return html`<div class="drawing" data-drawing=${name}>
      <div class="scale" aria-hidden="true"><span>${most}</span><span>${middle}</span><span>0</span></div>
      <div
        class="plot"
        role="img"
        aria-label=${label}
        @pointermove=${(event: PointerEvent) => this.#look(event)}
        @pointerleave=${this.#leave}
      >
        <svg viewBox="0 0 ${count} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true" focusable="false">
          ${[0, HEIGHT / 2, HEIGHT].map(y => svg`<line data-part="grid" x1="0" x2=${count} y1=${y} y2=${y}></line>`)}
          ${
            this.#looked === null
              ? nothing
              : svg`<rect data-part="looked" x=${this.#looked} y="0" width="1" height=${HEIGHT}></rect>`
          }
          ${drawn}
        </svg>
      </div>
    </div>`
  }

  #table(): TemplateResult {
    const time = (seconds: number | null) => (seconds === null ? '–' : duration(seconds))
    const figures = [
      ...FINISHED_STATUSES.map(outcome => text(`condition.${outcome}`)),
      text('statistics.late'),
      text('statistics.median'),
      text('statistics.p95'),
    ]
    return html`<details>
      <summary>${text('statistics.chart.table')}</summary>
      ${plainTable(
        text('statistics.chart.title'),
        [{ head: text('statistics.span') }, ...figures.map(head => ({ head, isFigure: true }))],
        this.series.map(period => [
          (this.bucket === 'hour' ? fullPeriod : shortPeriod)(period.start, this.bucket),
          ...FINISHED_STATUSES.map(outcome => number(period[outcome])),
          number(period.late),
          time(period.durationSeconds.p50),
          time(period.durationSeconds.p95),
        ]),
      )}
    </details>`
  }

  protected override render(): TemplateResult | typeof nothing {
    const { series } = this
    const [first, last] = [series[0], series.at(-1)]
    if (first === undefined || last === undefined) return nothing
    const busiest = series.reduce((most, period) => (jobsOf(period) > jobsOf(most) ? period : most))
    // The half of it is written as well, and there are no half jobs.
    const most = 2 * Math.max(1, roundUp(jobsOf(busiest) / 2))
    const longest = roundUpTime(Math.max(0, ...series.map(({ durationSeconds }) => durationSeconds.p95 ?? 0)))
    const medians = series.flatMap(({ durationSeconds }) => durationSeconds.p50 ?? [])
    const count = series.length
    return html`<section class="card">
      <h2>${text('statistics.chart.title')} ${this.#readout()}</h2>
      ${this.#drawing(
        'outcomes',
        text('statistics.chart.outcomes.label', {
          from: fullPeriod(first.start, this.bucket),
          to: fullPeriod(last.start, this.bucket),
          most: jobsOf(busiest),
          when: fullPeriod(busiest.start, this.bucket),
        }),
        compact(most),
        compact(most / 2),
        this.#bars(most),
      )}
      ${
        medians.length === 0
          ? nothing
          : html`<h3>${text('statistics.chart.durations')}</h3>
              ${this.#drawing(
                'durations',
                text('statistics.chart.durations.label', {
                  least: duration(Math.min(...medians)),
                  most: duration(Math.max(...medians)),
                }),
                duration(longest),
                duration(longest / 2),
                [this.#band(longest), this.#marked()],
              )}`
      }
      <div class="times" aria-hidden="true">
        ${this.#labelled.map(
          n =>
            html`<span .style=${`left: ${(100 * n) / count}%`}
              >${shortPeriod((series[n] as PeriodStatistics).start, this.bucket)}</span
            >`,
        )}
      </div>
      ${this.bucket === 'hour' ? nothing : html`<p class="muted note">${text('statistics.chart.utc')}</p>`}
      ${this.#table()}
    </section>`
  }
}

customElements.define('statistics-chart', StatisticsChart)
