import { css, html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { JobElement } from './job-element.ts'
import { renderBar } from './job-view.ts'
import { bar, shared } from './styles.ts'

/**
 * `<headway-progress job-id="…">`: a bar and how far it is, for a line of text or a cell of a table.
 * Parts: bar, track, fill, percent. Attribute `plain`: the bar alone.
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
        flex: 1;
        min-width: 3em;
      }
      .percent {
        min-width: 3ch;
        text-align: end;
        font-variant-numeric: tabular-nums;
      }
    `,
  ]

  declare plain: boolean | undefined

  protected override render(): TemplateResult | typeof nothing {
    const { job, client, language } = this
    if (!job || !client) return nothing
    // The bar says the percent already.
    const percent = html`<span class="percent small" part="percent" aria-hidden="true"
      >${language.percent(job.progressPercent)}</span
    >`
    return html`<div class="line">
      ${renderBar({ job, nowMs: this.shownMs(client), language })} ${this.plain ? nothing : percent}
    </div>`
  }
}
