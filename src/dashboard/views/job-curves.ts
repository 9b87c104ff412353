import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import type { JobEvent, JobWithWorkers } from '../../contract/job.ts'
import type { Point } from '../data/curve.ts'
import { movedTo } from '../data/earlier-run.ts'
import type { EarlierRun } from '../data/earlier-run.ts'
import { shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { bytes, compact, moment, percent, duration, text } from '../words.ts'
import { watchAppearance } from './appearance-switch.ts'
import type { Chart } from './chart.ts'
import { PageElement } from './element.ts'
import { countText, elapsedSeconds, speedText } from './figures.ts'

/** Changes after which a curve may bend: they are drawn as lines across it. */
const MARKS: Partial<Record<JobEvent['type'], string>> = {
  stalled: '--warning',
  recovered: '--success',
  retried: '--accent',
  cancel_requested: '--muted',
}

/** How far a job was at each time, and how fast. uPlot is loaded when it is first needed. */
class JobCurves extends PageElement {
  static override properties: PropertyDeclarations = {
    points: { attribute: false },
    job: { attribute: false },
    changes: { attribute: false },
    earlier: { attribute: false },
  }

  declare points: readonly Point[]
  declare job: JobWithWorkers
  declare changes: readonly JobEvent[]
  /** The last completed run of the type; null: there is none. */
  declare earlier: EarlierRun | null
  #charts: { progress: Chart; speed: Chart | null; isPercent: boolean } | null = null
  #isMaking = false
  #drawn = ''
  #unwatch: () => void = () => undefined
  #isBroken = false
  /** The point under the pointer. */
  #looked: Point | null = null
  readonly #sizes = new ResizeObserver(([entry]) => {
    const width = entry?.contentRect.width ?? 0
    this.#charts?.progress.resize(width)
    this.#charts?.speed?.resize(width)
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

  /** Whether the curve shows percents. Without a total there are none, and it shows counts. */
  get #isPercent(): boolean {
    return this.job.totalCount !== null || this.job.stages !== null || this.job.progressPercent > 0
  }

  get #hasSpeed(): boolean {
    return this.points.some(({ throughputPerSecond }) => throughputPerSecond !== null)
  }

  #remove(): void {
    this.#sizes.disconnect()
    this.#charts?.progress.remove()
    this.#charts?.speed?.remove()
    this.#charts = null
    this.#drawn = ''
  }

  async #make(): Promise<void> {
    if (this.#isMaking) return
    this.#isMaking = true
    const chart = await import('./chart.ts').catch(() => null)
    this.#isMaking = false
    if (chart === null) {
      // After an update of the service, the file that this page refers to no longer exists.
      this.#isBroken = true
      this.requestUpdate()
      return
    }
    const { createChart } = chart
    const place = (name: string) => this.querySelector<HTMLElement>(`[data-chart=${name}]`)
    const [progress, speed] = [place('progress'), place('speed')]
    if (progress === null || !this.isConnected) return
    const marks = () =>
      this.changes.flatMap(({ type, at }) => {
        const colour = MARKS[type]
        return colour === undefined ? [] : [{ at: Date.parse(at) / 1000, colour }]
      })
    const amount = this.job.unit === 'bytes' ? bytes : compact
    const look = (index: number | null) => {
      const point = index === null ? null : (this.#shown()[index] ?? null)
      if (point === this.#looked) return
      this.#looked = point
      this.requestUpdate()
    }
    const common = { colour: '--accent', marks, look }
    const isPercent = this.#isPercent
    this.#charts = {
      isPercent,
      progress: isPercent
        ? createChart(progress, { ...common, height: 210, write: percent, most: 100 })
        : createChart(progress, { ...common, height: 210, write: amount }),
      speed:
        speed &&
        createChart(speed, {
          ...common,
          colour: '--series-2',
          height: 140,
          write: value => speedText(value, this.job.unit),
        }),
    }
    this.#sizes.observe(progress)
    this.#draw()
  }

  #draw(): void {
    const points = this.#shown()
    const earlier = this.#earlierPoints(points[0]?.atMs ?? 0)
    const key = `${earlier.length} ${points.length} ${points[0]?.atMs} ${points.at(-1)?.atMs} ${this.changes.length}`
    if (this.#charts === null || key === this.#drawn) return
    this.#drawn = key
    const times = points.map(({ atMs }) => atMs / 1000)
    const valueOf = (point: Point) => (this.#isPercent ? point.progressPercent : point.processedCount)
    const faint = { times: earlier.map(({ atMs }) => atMs / 1000), values: earlier.map(valueOf) }
    this.#charts.progress.show(times, points.map(valueOf), faint)
    // The same times, so that both charts have one axis.
    const isSameUnit = this.earlier?.job.unit === this.job.unit
    this.#charts.speed?.show(
      times,
      points.map(({ throughputPerSecond }) => throughputPerSecond),
      { ...faint, values: earlier.map(({ throughputPerSecond }) => (isSameUnit ? throughputPerSecond : null)) },
    )
  }

  /** The points of the earlier run as if it had begun with this one; none if both do not show the same. */
  #earlierPoints(startMs: number): readonly Point[] {
    const { earlier } = this
    if (earlier === null || startMs === 0) return []
    const isComparable = this.#isPercent
      ? earlier.points.some(({ progressPercent }) => progressPercent > 0 && progressPercent < 100)
      : earlier.job.unit === this.job.unit && earlier.job.processedCount > 0
    return isComparable ? movedTo(startMs, earlier.points) : []
  }

  /** The points, up to now while the job runs: a line that ends in the past would hide that the job does not advance. */
  #shown(): readonly Point[] {
    const last = this.points.at(-1)
    const nowMs = shownNow()
    return last === undefined || this.job.status !== 'running' || nowMs <= last.atMs
      ? this.points
      : [...this.points, { ...last, atMs: nowMs }]
  }

  protected override updated(): void {
    // Without a curve the elements for the charts are gone, and when a total becomes known the axis changes.
    const isDrawn = this.#shown().length >= 2
    const hasSpeed = this.#charts?.speed != null
    if (!isDrawn || this.#charts?.isPercent !== this.#isPercent || hasSpeed !== this.#hasSpeed) this.#remove()
    if (!isDrawn || this.#isBroken) return
    if (this.#charts === null) void this.#make()
    else this.#draw()
  }

  /** The values at the pointer. */
  #readout(time: (atMs: number) => string): TemplateResult | typeof nothing {
    const point = this.#looked
    if (point === null) return nothing
    const { totalCount, unit } = this.job
    const { atMs, progressPercent, processedCount, throughputPerSecond } = point
    const parts = [
      time(atMs),
      ...(this.#isPercent ? [percent(progressPercent)] : []),
      countText({ processedCount, totalCount, unit }, { short: true }),
      speedText(throughputPerSecond, unit),
    ]
    return html`<span class="readout">${parts.filter(part => part !== '').join(' · ')}</span>`
  }

  #legend(startMs: number): TemplateResult | typeof nothing {
    const { earlier } = this
    if (earlier === null || this.#earlierPoints(startMs).length === 0) return nothing
    const seconds = elapsedSeconds(earlier.job, 0)
    return html`<p class="muted faint-legend">
      <span class="swatch" aria-hidden="true"></span>
      <a href=${ADDRESS.job(earlier.job.id)}>${text('curves.earlier')}</a>
      ${seconds === null ? nothing : duration(seconds)}
    </p>`
  }

  protected override render(): TemplateResult {
    const points = this.#shown()
    const [first, last] = [points[0], points.at(-1)]
    if (first === undefined || last === undefined || points.length < 2 || this.#isBroken) {
      return html`<section class="card">
        <h2>${text('curves.title')}</h2>
        <p class="muted">${text(this.#isBroken ? 'curves.failed' : 'curves.empty')}</p>
      </section>`
    }
    const time = (atMs: number) => moment(atMs, last.atMs)
    const end = time(last.atMs)
    const speeds = points.flatMap(({ throughputPerSecond }) => throughputPerSecond ?? [])
    const write = (point: Point) => (this.#isPercent ? percent(point.progressPercent) : compact(point.processedCount))
    const progressLabel = text('curves.progress.label', {
      from: write(first),
      start: time(first.atMs),
      to: write(last),
      end,
    })
    const speedLabel = text('curves.speed.label', {
      value: speedText(speeds.at(-1) ?? 0, this.job.unit),
      end,
      most: speedText(Math.max(0, ...speeds), this.job.unit),
    })
    return html`<section class="card">
      <h2>${text('curves.title')} ${this.#readout(time)}</h2>
      <div class="chart" data-chart="progress" role="img" aria-label=${progressLabel}></div>
      ${this.#legend(first.atMs)}
      ${
        this.#hasSpeed
          ? html`<h3>${text('curves.speed')}</h3>
              <div class="chart" data-chart="speed" role="img" aria-label=${speedLabel}></div>`
          : nothing
      }
    </section>`
  }
}

customElements.define('job-curves', JobCurves)
