import { html, nothing } from 'lit'
import type { PropertyValues, TemplateResult } from 'lit'
import { conditionOf, needsAttention } from '../browser-client/condition.ts'
import { isFinished } from '../contract/states.ts'
import type { HeadwayClient } from '../browser-client/types.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { bells } from './bells.ts'
import { card } from './card-styles.ts'
import { errorText } from './element.ts'
import { JobElement } from './job-element.ts'
import { endText, messageText, renderBar, renderFigures, renderMark, statusText } from './job-view.ts'
import { bar, shared } from './styles.ts'

/**
 * `<headway-job-card job-id="…">`: one job with its bar, its worker's message, and buttons to cancel it, after a question, and
 * to retry it. Attribute `notify`: also a button by which the browser says how the job ended. Parts: card, name, status, message,
 * error, bar, track, fill, figures, count, rate, eta, eta-range, as-of, notify, cancel, question, cancel-yes, cancel-no, retry,
 * dismiss.
 */
export class HeadwayJobCard extends JobElement {
  static override properties = {
    ...JobElement.properties,
    notify: { type: Boolean },
    busy: { state: true },
    asking: { state: true },
    refusal: { state: true },
    dismiss: { attribute: false },
  }

  static override styles = [shared, bar, card]

  /** Whether the visitor may ask to be told of the end. */
  declare notify: boolean | undefined
  /** A request of the card is in flight. */
  declare busy: boolean | undefined
  /** The card asks before it cancels, because the work may have taken hours. */
  declare asking: boolean | undefined
  /** Why the last request was refused, until the job changes or another request is made. */
  declare refusal: string | undefined
  /** Dismisses a finished job; absent if the card's owner cannot. */
  declare dismiss: ((job: LiveJob) => void) | undefined
  #focus: string | null = null
  #hadFocus = false
  #stopBells: (() => void) | null = null

  override connectedCallback(): void {
    super.connectedCallback()
    this.#stopBells = bells.subscribe(() => this.requestUpdate())
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#stopBells?.()
  }

  protected override willUpdate(changed: PropertyValues): void {
    super.willUpdate(changed)
    const before = changed.get('job') as LiveJob | undefined
    if (before && before.id !== this.job?.id) this.refusal = undefined
    if (!this.job || !isCancellable(this.job)) this.asking = false
    if (this.job) this.#tellEnd(this.job)
    this.#hadFocus = this.shadowRoot?.activeElement?.classList.contains('eta') ?? false
  }

  protected override updated(): void {
    // The range was there a moment ago. Without this the page would lose the focus.
    if (this.#hadFocus && !this.shadowRoot?.activeElement) this.#focus = '.card'
    if (this.#focus !== null) this.renderRoot.querySelector<HTMLElement>(this.#focus)?.focus()
    this.#focus = null
  }

  protected override render(): TemplateResult | typeof nothing {
    const { job, client, language } = this
    if (!job || !client) return this.#renderMissing()
    const nowMs = this.shownMs(client, job)
    const look = conditionOf(job, nowMs)
    const asOf = this.asOf(client, job)
    const view = { job, nowMs, language, asOf }
    const status = statusText(view)
    const text = messageText(view)
    return html`<div class="card ${look} ${asOf === null ? '' : 'old'}" part="card" tabindex="-1">
      <div class="head">
        ${renderMark(job, nowMs)}
        <span class="name" part="name" dir="auto">${job.name}</span>
        ${
          this.asking
            ? this.#renderQuestion(job)
            : html`<span class="small ${needsAttention(look) ? 'warning' : 'muted'}" part="status">${status}</span>
                ${this.#renderActions(job)}`
        }
      </div>
      <p
        class="small ${job.status === 'failed' || (job.children?.failed ?? 0) > 0 ? 'error' : 'muted'}"
        part="message"
        dir="auto"
      >
        ${text}
      </p>
      ${renderBar(view)} ${renderFigures(view)}
      <p class="small error" part="error" role="status" ?hidden=${!this.refusal}>${this.refusal}</p>
    </div>`
  }

  #renderActions(job: LiveJob): unknown {
    const { language, dismiss } = this
    const { name, status } = job
    const named = { name }
    if (!isFinished(job)) {
      const label = language.text('progress.actions.cancelJob', named)
      return [
        this.notify ? this.#renderBell(job) : nothing,
        isCancellable(job)
          ? this.#renderAction('cancel', language.text('progress.actions.cancel'), () => this.#ask(true), label)
          : nothing,
      ]
    }
    const label = language.text('progress.actions.retryJob', named)
    const retry = () => void this.#act(client => client.retry(job.id))
    return [
      status === 'completed'
        ? nothing
        : this.#renderAction('retry', language.text('progress.actions.retry'), retry, label),
      dismiss ? this.#renderAction('dismiss', language.text('progress.actions.dismiss'), () => dismiss(job)) : nothing,
    ]
  }

  #renderBell({ id, name }: LiveJob): TemplateResult {
    const { language } = this
    const isOn = bells.has(id)
    return html`<button
      type="button"
      class="action small"
      part="notify"
      ?data-on=${isOn}
      aria-label=${language.text(isOn ? 'progress.actions.notifyStopJob' : 'progress.actions.notifyJob', { name })}
      @click=${() => void this.#toggleBell(id)}
    >
      ${language.text(isOn ? 'progress.actions.notifyStop' : 'progress.actions.notify')}
    </button>`
  }

  async #toggleBell(id: string): Promise<void> {
    this.refusal = undefined
    if (bells.has(id)) bells.remove(id)
    else if (!(await bells.add(id))) this.refusal = this.language.text('progress.errors.noNotifications')
  }

  #tellEnd(job: LiveJob): void {
    if (!this.notify || !isFinished(job)) return
    const title = endText(this.language, job)
    bells.tellEnd(job, { title, body: this.#endText(job) })
  }

  /** The reason of a failure, and otherwise the type: a notification has no other room for where it comes from. */
  #endText(job: LiveJob): string {
    const { language } = this
    return job.status === 'failed'
      ? messageText({ job, nowMs: Date.parse(job.updatedAt), language, asOf: null })
      : job.jobType
  }

  #renderQuestion(job: LiveJob): TemplateResult {
    const { language } = this
    const leave = () => this.#ask(false)
    return html`<span
      role="group"
      class="head"
      part="question"
      aria-label=${language.text('progress.actions.cancelQuestion', { name: job.name })}
      @keydown=${(event: KeyboardEvent) => event.key === 'Escape' && leave()}
      >${this.#renderAction('cancel-yes', language.text('progress.actions.cancelYes'), () => void this.#cancel(job.id))}
      ${this.#renderAction('cancel-no', language.text('progress.actions.cancelNo'), leave)}</span
    >`
  }

  #renderAction(part: string, text: string, act: () => void, label?: string): TemplateResult {
    return html`<button
      type="button"
      class="action small"
      part=${part}
      ?disabled=${this.busy ?? false}
      aria-label=${label ?? nothing}
      @click=${act}
    >
      ${text}
    </button>`
  }

  /** Says that there is no job with this id, once the service has said so. Until then the room of a card is kept. */
  #renderMissing(): TemplateResult | typeof nothing {
    if (this.isNoJobId || this.client?.state().loaded) {
      return html`<p class="small muted" part="message">${this.language.text('progress.errors.notFound')}</p>`
    }
    if (this.jobId === undefined || this.jobId === '') return nothing
    return html`<div class="card blank" aria-hidden="true">
      <div class="head"><span class="name">&nbsp;</span></div>
      <p class="small" part="message"></p>
      <div class="track"></div>
      <div class="figures small"></div>
    </div>`
  }

  /** The answer that changes nothing gets the focus, so that pressing twice by accident cancels nothing. */
  #ask(asking: boolean): void {
    this.asking = asking
    this.#focus = asking ? '[part=cancel-no]' : '[part=cancel]'
  }

  async #cancel(id: string): Promise<void> {
    this.asking = false
    this.#focus = '.card'
    await this.#act(client => client.cancel(id))
  }

  async #act(request: (client: HeadwayClient) => Promise<LiveJob>): Promise<void> {
    if (this.busy || !this.client) return
    this.busy = true
    this.refusal = undefined
    try {
      const job = await request(this.client)
      if (this.job?.id === job.id && this.job.revision < job.revision) this.job = job
    } catch (error) {
      this.refusal = errorText(this.language, error)
    } finally {
      this.busy = false
    }
  }
}

const isCancellable = (job: LiveJob): boolean => job.cancellable && !isFinished(job) && job.cancelRequestedAt === null
