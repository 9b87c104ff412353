import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import type { RunDot, Runs } from '../data/run-dots.ts'
import { shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { clock, isolated, duration, text } from '../words.ts'
import { PageElement } from './element.ts'
import * as icons from './icons.ts'
import { timeTag } from './times.ts'

const STEPS: Readonly<Record<string, number>> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }

/** The runs of a type as dots: the later they ended the further right, the longer they took the higher. Each is a link. */
class TypeRuns extends PageElement {
  static override properties: PropertyDeclarations = { runs: { attribute: false } }

  declare runs: Runs
  /** The id of the run that the keyboard reaches: one stop for all dots, and arrows between them. */
  #focused: string | null = null
  #looked: RunDot | null = null

  #look(dot: RunDot | null): void {
    if (dot === this.#looked) return
    this.#looked = dot
    this.requestUpdate()
  }

  readonly #pressed = (event: KeyboardEvent): void => {
    const step = STEPS[event.key]
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return
    const links = [...this.querySelectorAll<HTMLElement>('a.dot')]
    const next = links[links.indexOf(event.target as HTMLElement) + step]
    event.preventDefault()
    next?.focus()
  }

  #said({ job, seconds }: RunDot): string {
    const at = job.finishedAt === null ? '' : clock(Date.parse(job.finishedAt), shownNow())
    return [isolated(job.name), text(`condition.${job.status}`), duration(seconds), at].filter(Boolean).join(' · ')
  }

  #dot(dot: RunDot, isStop: boolean): TemplateResult {
    const { job, x, y } = dot
    return html`<li>
      <a
        class="dot"
        href=${ADDRESS.job(job.id)}
        tabindex=${isStop ? 0 : -1}
        aria-label=${this.#said(dot)}
        .style=${`left: ${100 * x}%; bottom: ${100 * y}%`}
        @focus=${() => {
          this.#focused = job.id
          this.#look(dot)
          this.requestUpdate()
        }}
        @blur=${() => this.#look(null)}
        @pointerenter=${() => this.#look(dot)}
        @pointerleave=${() => this.#look(null)}
        >${icons.conditionIcon(job.status)}</a
      >
    </li>`
  }

  protected override render(): TemplateResult | typeof nothing {
    const { dots, mostSeconds, band } = this.runs
    const [first, last] = [dots[0], dots.at(-1)]
    if (first === undefined || last === undefined) return nothing
    const nowMs = shownNow()
    const stop = dots.find(({ job }) => job.id === this.#focused) ?? last
    const at = (seconds: number) => `bottom: ${(100 * seconds) / (mostSeconds || 1)}%`
    const end = ({ job }: RunDot) =>
      timeTag(job.finishedAt ?? job.updatedAt, clock(Date.parse(job.finishedAt ?? job.updatedAt), nowMs))
    return html`<section class="card runs">
      <h2>
        ${text('type.chart')}
        ${this.#looked === null ? nothing : html`<span class="readout" dir="auto">${this.#said(this.#looked)}</span>`}
      </h2>
      <div class="run-drawing">
        <div class="scale" aria-hidden="true">
          <span>${duration(mostSeconds)}</span><span>${duration(mostSeconds / 2)}</span><span>0</span>
        </div>
        <div class="plot">
          ${
            band === null
              ? nothing
              : html`<div
                    class="median-band"
                    .style=${`${at(band.low)}; height: ${(100 * (band.high - band.low)) / (mostSeconds || 1)}%`}
                  ></div>
                  <div class="median" .style=${at(band.median)}></div>`
          }
          <ul aria-label=${text('type.runs')} @keydown=${this.#pressed}>
            ${dots.map(dot => this.#dot(dot, dot === stop))}
          </ul>
        </div>
      </div>
      <p class="strip-ends muted">${end(first)} ${end(last)}</p>
      <p class="muted legend">
        ${(['completed', 'failed', 'cancelled'] as const).map(
          outcome => html`<span>${icons.conditionIcon(outcome)} ${text(`condition.${outcome}`)}</span>`,
        )}
        <span><span class="swatch median-swatch" aria-hidden="true"></span>${text('type.band')}</span>
      </p>
    </section>`
  }
}

customElements.define('type-runs', TypeRuns)
