import { css, html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { JobElement } from './job-element.ts'
import { renderBar } from './job-view.ts'
import { bar, shared } from './styles.ts'

/**
 * `<headway-progress job-id="…">`: a bar and its percent, for a line of text or a cell of a table. Parts: bar, track, fill,
 * percent, as-of. Attribute `plain`: only the bar.
 */
export class HeadwayProgress extends JobElement {
  static override properties = { ...JobElement.properties, plain: { type: Boolean } }

  static override styles = [
    shared,
    bar,
    css`
      .line {
        display: flex;
        align-items: center;
        gap: var(--_gap);
      }
      .bar {
        flex: 1 1 3em;
        min-width: 1em;
      }
      .empty {
        visibility: hidden;
      }
      .percent {
        min-width: 4ch;
        text-align: end;
        font-variant-numeric: tabular-nums;
      }
    `,
  ]

  declare plain: boolean | undefined

  protected override render(): TemplateResult {
    const room = this.plain ? nothing : html`<span class="percent small" aria-hidden="true">&nbsp;</span>`
    const { job, client, language } = this
    // Keeps its room, so that the page does not move when the job arrives.
    if (!job || !client)
      return html`<div class="line">
        <div class="bar"><div class="track empty"></div></div>
        ${room}
      </div>`
    const asOf = this.asOf(client, job)
    // Hidden from screen readers, because the bar says the percent already.
    const percent = html`<span class="percent small" part="percent" aria-hidden="true"
      >${language.percent(job.progressPercent)}</span
    >`
    return html`<div class="line ${asOf === null ? '' : 'old'}" title=${asOf ?? nothing}>
      ${renderBar({ job, nowMs: this.shownMs(client, job), language, asOf })} ${this.plain ? nothing : percent}
      ${asOf === null || this.plain ? nothing : html`<span class="small muted" part="as-of" aria-hidden="true">${asOf}</span>`}
    </div>`
  }
}
