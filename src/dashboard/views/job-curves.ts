import { html } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import type { JobEvent, JobWithWorkers } from '../../client/index.ts'
import type { Point } from '../data/curve.ts'
import { shownNow } from '../feed.ts'
import { bytes, compact, percent, text, timeOfDay } from '../words.ts'
import { watchAppearance } from './appearance-switch.ts'
import type { Chart } from './chart.ts'
import { PageElement } from './element.ts'
import { speedText } from './figures.ts'

/** Why a curve may bend: drawn as lines across it. */
const MARKS: Partial<Record<JobEvent['type'], string>> = {
  stalled: '--warning',
  recovered: '--success',
  retried: '--accent',
  cancel_requested: '--muted',
}

/** How far a job was at which time, and how fast. uPlot comes when it is first needed. */
class JobCurves extends PageElement {
  static override properties: PropertyDeclarations = {
    points: { attribute: false },
    job: { attribute: false },
    changes: { attribute: false },
  }

  declare points: readonly Point[]
  declare job: JobWithWorkers
  declare changes: readonly JobEvent[]
  #charts: { progress: Chart; speed: Chart; isPercent: boolean } | null = null
  #isMaking = false
  #drawn = ''
  #unwatch: () => void = () => undefined
  readonly #sizes = new ResizeObserver(([entry]) => {
    const width = entry?.contentRect.width ?? 0
    this.#charts?.progress.resize(width)
    this.#charts?.speed.resize(width)
  })

  override connectedCallback(): void {
    super.connectedCallback()
    this.#unwatch = watchAppearance(() => {
      this.#remove()
      this.requestUpdate()
    })
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#unwatch()
    this.#remove()
  }

  /** Without a total there is no percent to speak of: then the curve is of what was done. */
  get #isPercent(): boolean {
    return this.job.totalCount !== null || this.job.stages !== null || this.job.progressPercent > 0
  }

  #remove(): void {
    this.#sizes.disconnect()
    this.#charts?.progress.remove()
    this.#charts?.speed.remove()
    this.#charts = null
    this.#drawn = ''
  }

  async #make(): Promise<void> {
    if (this.#isMaking) return
    this.#isMaking = true
    const { createChart } = await import('./chart.ts')
    this.#isMaking = false
    const place = (name: string) => this.querySelector<HTMLElement>(`[data-chart=${name}]`)
    const [progress, speed] = [place('progress'), place('speed')]
    if (progress === null || speed === null || !this.isConnected) return
    const marks = () =>
      this.changes.flatMap(({ type, at }) => {
        const colour = MARKS[type]
        return colour === undefined ? [] : [{ at: Date.parse(at) / 1000, colour }]
      })
    const amount = this.job.unit === 'bytes' ? bytes : compact
    const common = { colour: '--accent', marks }
    const isPercent = this.#isPercent
    this.#charts = {
      isPercent,
      progress: isPercent
        ? createChart(progress, { ...common, height: 210, write: percent, most: 100 })
        : createChart(progress, { ...common, height: 210, write: amount }),
      speed: createChart(speed, { ...common, colour: '--series-2', height: 140, write: amount }),
    }
    this.#sizes.observe(progress)
    this.#draw()
  }

  #draw(): void {
    const points = this.#shown()
    const key = `${points.length} ${points[0]?.atMs} ${points.at(-1)?.atMs} ${this.changes.length}`
    if (this.#charts === null || key === this.#drawn) return
    this.#drawn = key
    const times = points.map(({ atMs }) => atMs / 1000)
    this.#charts.progress.show(
      times,
      points.map(point => (this.#isPercent ? point.progressPercent : point.processedCount)),
    )
    this.#charts.speed.show(
      times,
      points.map(({ throughputPerSecond }) => throughputPerSecond),
    )
  }

  /** Up to now while it runs: a line that ends in the past would hide that nothing is done. */
  #shown(): readonly Point[] {
    const last = this.points.at(-1)
    const nowMs = shownNow()
    return last === undefined || this.job.status !== 'running' || nowMs <= last.atMs
      ? this.points
      : [...this.points, { ...last, atMs: nowMs }]
  }

  protected override updated(): void {
    // Where there is no curve to show the places of the charts have gone, and with a total the axis is another one.
    const isDrawn = this.#shown().length >= 2
    if (!isDrawn || this.#charts?.isPercent !== this.#isPercent) this.#remove()
    if (!isDrawn) return
    if (this.#charts === null) void this.#make()
    else this.#draw()
  }

  protected override render(): TemplateResult {
    const points = this.#shown()
    const [first, last] = [points[0], points.at(-1)]
    if (first === undefined || last === undefined || points.length < 2) {
      return html`<section class="card">
        <h2>${text('curves.title')}</h2>
        <p class="muted">${text('curves.empty')}</p>
      </section>`
    }
    const end = timeOfDay(last.atMs)
    const speeds = points.flatMap(({ throughputPerSecond }) => throughputPerSecond ?? [])
    const write = (point: Point) => (this.#isPercent ? percent(point.progressPercent) : compact(point.processedCount))
    const progressLabel = text('curves.progress.label', {
      from: write(first),
      start: timeOfDay(first.atMs),
      to: write(last),
      end,
    })
    const speedLabel = text('curves.speed.label', {
      value: speedText(speeds.at(-1) ?? 0, this.job.unit),
      end,
      most: speedText(Math.max(0, ...speeds), this.job.unit),
    })
    return html`<section class="card">
      <h2>${text('curves.title')}</h2>
      <div class="chart" data-chart="progress" role="img" aria-label=${progressLabel}></div>
      <h3>${text('curves.speed')}</h3>
      <div class="chart" data-chart="speed" role="img" aria-label=${speedLabel}></div>
    </section>`
  }
}

customElements.define('job-curves', JobCurves)
