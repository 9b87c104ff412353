import { css, html, nothing } from 'lit'
import type { PropertyValues, TemplateResult } from 'lit'
import { conditionOf, needsAttention } from '../client/condition.ts'
import { isFinished } from '../client/documents.ts'
import type { LiveJob } from '../client/types.ts'
import { errorText } from './element.ts'
import { JobElement } from './job-element.ts'
import { renderBar, renderFigures, renderMark } from './job-view.ts'
import { bar, shared } from './styles.ts'

/**
 * `<headway-job-card job-id="…">`: one job with its bar, what its worker says, and a button to cancel it.
 * Parts: card, name, status, message, error, bar, track, fill, figures, count, rate, eta, cancel.
 */
export class HeadwayJobCard extends JobElement {
  static override properties = { ...JobElement.properties, cancelling: { state: true }, refusal: { state: true } }

  static override styles = [
    shared,
    bar,
    css`
      .card {
        display: grid;
        gap: 4px;
        padding: var(--headway-card-padding, 10px 12px);
        border: 1px solid var(--_border);
        border-radius: var(--_radius);
      }
      .failed.card {
        border-color: color-mix(in srgb, var(--_danger) 50%, transparent);
      }
      .completed.card {
        border-color: color-mix(in srgb, var(--_success) 50%, transparent);
      }
      .head {
        display: flex;
        align-items: center;
        gap: var(--_gap);
      }
      .name {
        flex: 1;
        min-width: 0;
        font-weight: 600;
      }
      .figures {
        display: flex;
        flex-wrap: wrap;
        gap: 0 12px;
        min-height: 1.4em;
        font-variant-numeric: tabular-nums;
      }
      [part='eta'] {
        margin-inline-start: auto;
      }
      p {
        margin: 0;
      }
      .cancel {
        padding: 2px 10px;
        border: 1px solid var(--_border);
        border-radius: var(--_radius);
        background: none;
      }
      .cancel:hover:enabled {
        background: var(--_track);
      }
      .cancel:disabled {
        cursor: default;
        opacity: 0.6;
      }
    `,
  ]

  /** The request to cancel is on its way. */
  declare cancelling: boolean | undefined
  /** Why it was refused, until something else happens. */
  declare refusal: string | undefined

  protected override willUpdate(changed: PropertyValues): void {
    super.willUpdate(changed)
    const before = changed.get('job') as LiveJob | undefined
    if (before && before.id !== this.job?.id) this.refusal = undefined
  }

  protected override render(): TemplateResult | typeof nothing {
    const { job, client, language } = this
    if (!job || !client) return this.#renderMissing()
    const nowMs = this.shownMs(client)
    const look = conditionOf(job, nowMs)
    const view = { job, nowMs, language }
    const status = language.text(`progress.status.${look}`)
    const text = job.status === 'failed' ? job.errorMessage : job.message
    return html`<div class="card ${look}" part="card">
      <div class="head">
        ${renderMark(job, nowMs)}
        <span class="name" part="name">${job.name}</span>
        <span class="small ${needsAttention(look) ? 'warning' : 'muted'}" part="status">${status}</span>
        ${this.#renderCancel(job)}
      </div>
      ${
        text === null || text === ''
          ? nothing
          : html`<p class="small ${job.status === 'failed' ? 'error' : 'muted'}" part="message">${text}</p>`
      }
      ${isFinished(job) ? nothing : renderBar(view)} ${renderFigures(view)}
      <p class="small error" part="error" role="status" ?hidden=${!this.refusal}>${this.refusal}</p>
    </div>`
  }

  #renderCancel(job: LiveJob): TemplateResult | typeof nothing {
    const { language } = this
    if (!job.cancellable || isFinished(job) || job.cancelRequestedAt !== null) return nothing
    return html`<button
      type="button"
      class="cancel small"
      part="cancel"
      ?disabled=${this.cancelling ?? false}
      aria-label=${language.text('progress.actions.cancelJob', { name: job.name })}
      @click=${() => void this.#cancel(job.id)}
    >
      ${language.text('progress.actions.cancel')}
    </button>`
  }

  /** An id that leads nowhere is said, once the service has said so. */
  #renderMissing(): TemplateResult | typeof nothing {
    if (!this.isNoJobId && !this.client?.state().loaded) return nothing
    return html`<p class="small muted" part="message">${this.language.text('progress.errors.notFound')}</p>`
  }

  async #cancel(id: string): Promise<void> {
    if (this.cancelling || !this.client) return
    this.cancelling = true
    this.refusal = undefined
    try {
      const job = await this.client.cancel(id)
      if (this.job?.id === id && this.job.revision < job.revision) this.job = job
    } catch (error) {
      this.refusal = errorText(this.language, error)
    } finally {
      this.cancelling = false
    }
  }
}
