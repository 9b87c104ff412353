import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import type { DeliveryDocument, WebhookDocument } from '../../contract/webhook.ts'
import { destinations } from '../data/destinations.ts'
import { problemOf } from '../data/reading.ts'
import { Live, shownNow } from '../feed.ts'
import { number, text } from '../words.ts'
import { announce } from './announcer.ts'
import './destination-deliveries.ts'
import { reasonOfDelivery } from './destination-deliveries.ts'
import { PageElement } from './element.ts'
import { agoText } from './times.ts'
import { problemText } from './problem-text.ts'

const TEST_POLL_MS = 500
/** A receiver that has not answered by then has failed, and the next attempt comes later. */
const TEST_PATIENCE_MS = 20_000

const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))

/** Where a destination leads, as far as answers show it. */
const whereOf = ({ url, settings }: WebhookDocument): string =>
  [url, settings.homeserver, settings.channel, settings.chatId, settings.roomId, settings.to?.join(', ')]
    .filter(part => part !== null && part !== undefined)
    .join(' · ')

/** Whether messages arrive there. */
const stateOf = (destination: WebhookDocument, nowMs: number): { condition: string; said: string } => {
  const { enabled, gone, consecutiveFailures, failingSince, deliveredAt } = destination
  if (gone) return { condition: 'failed', said: text('destination.gone') }
  if (!enabled) return { condition: 'pending', said: text('destination.paused') }
  if (failingSince !== null) {
    const since = agoText(failingSince, nowMs)
    return { condition: 'failed', said: text('destination.failing', { since, count: consecutiveFailures }) }
  }
  return deliveredAt === null
    ? { condition: 'pending', said: text('destination.unused') }
    : { condition: 'completed', said: text('destination.works', { ago: agoText(deliveredAt, nowMs) }) }
}

/** One destination: where it leads, whether it works, and what can be done with it. Fires `destination-changed`. */
class DestinationCard extends PageElement {
  static override properties: PropertyDeclarations = {
    destination: { attribute: false },
    isBusy: { state: true },
    asksToDelete: { state: true },
    isOpen: { state: true },
    said: { state: true },
  }

  declare destination: WebhookDocument
  declare private isBusy: boolean
  declare private asksToDelete: boolean
  declare private isOpen: boolean
  /** What the last test or change came to. */
  declare private said: { text: string; failed: boolean } | null

  constructor() {
    super()
    new Live(this)
    this.isBusy = false
    this.asksToDelete = false
    this.isOpen = false
    this.said = null
  }

  get #name(): string {
    const { description, kind } = this.destination
    return description ?? text(`destination.kind.${kind}`)
  }

  async #run(work: () => Promise<void>): Promise<void> {
    if (this.isBusy) return
    this.isBusy = true
    this.said = null
    try {
      await work()
    } catch (error) {
      this.said = { text: text('dialog.failed', { detail: problemText(problemOf(error)) }), failed: true }
    } finally {
      this.isBusy = false
      this.asksToDelete = false
      this.dispatchEvent(new Event('destination-changed', { bubbles: true }))
    }
  }

  /** The delivery once it has been attempted, or as it is when nobody would wait any longer. */
  async #outcomeOf(first: DeliveryDocument): Promise<DeliveryDocument> {
    const endMs = performance.now() + TEST_PATIENCE_MS
    let last = first
    while (last.attemptedAt === null && performance.now() < endMs && this.isConnected) {
      await pause(TEST_POLL_MS)
      const signal = AbortSignal.timeout(TEST_PATIENCE_MS)
      last = (await destinations.delivery(this.destination.id, first.id, signal)) ?? last
    }
    return last
  }

  readonly #test = (): Promise<void> =>
    this.#run(async () => {
      const outcome = await this.#outcomeOf(await destinations.test(this.destination.id))
      const failed = outcome.status !== 'delivered'
      const reason = reasonOfDelivery(outcome) || text('delivery.waiting')
      this.said = { failed, text: failed ? text('test.failed', { reason }) : text('test.arrived') }
    })

  readonly #pause = (): Promise<void> =>
    this.#run(async () => {
      const { enabled, id } = this.destination
      await destinations.pause(id, enabled)
      announce(text(enabled ? 'destination.paused' : 'destination.resumed'))
    })

  readonly #remove = (): Promise<void> =>
    this.#run(async () => {
      const name = this.#name
      await destinations.remove(this.destination.id)
      announce(text('destination.deleted', { name }))
    })

  #buttons(): TemplateResult {
    const { enabled } = this.destination
    const button = (label: string, press: () => void, style = '') =>
      html`<button type="button" class=${`button ${style}`} ?disabled=${this.isBusy} @click=${press}>${label}</button>`
    if (this.asksToDelete) {
      return html`<div class="buttons" role="group" aria-label=${text('destination.delete.ask', { name: this.#name })}>
        <span>${text('destination.delete.ask', { name: this.#name })}</span>
        ${button(text('destination.delete'), () => void this.#remove(), 'danger')}
        ${button(text('dialog.keep'), () => (this.asksToDelete = false))}
      </div>`
    }
    return html`<div class="buttons">
      ${enabled ? button(text('test.send'), () => void this.#test()) : nothing}
      ${button(text(enabled ? 'destination.pause' : 'destination.resume'), () => void this.#pause())}
      <button type="button" class="button" aria-expanded=${this.isOpen} @click=${() => (this.isOpen = !this.isOpen)}>
        ${text('delivery.title')}
      </button>
      ${button(text('destination.delete'), () => (this.asksToDelete = true), 'danger-outline')}
    </div>`
  }

  protected override render(): TemplateResult {
    const { destination, said } = this
    const { kind, jobType, description, progressIntervalSeconds, droppedCount } = destination
    const { condition, said: state } = stateOf(destination, shownNow())
    const news = this.isBusy ? text('destination.busy') : (said?.text ?? '')
    const facts = [
      ...(description === null ? [] : [text(`destination.kind.${kind}`)]),
      whereOf(destination),
      jobType ?? text('jobs.type.all'),
      ...(progressIntervalSeconds === null
        ? []
        : [text('destination.progress.every', { seconds: progressIntervalSeconds })]),
    ]
    return html`<section class="card destination" aria-label=${this.#name}>
      <div class="destination-head">
        <div class="names">
          <h2 dir="auto">${this.#name}</h2>
          <p class="muted">
            ${facts.filter(fact => fact !== '').map((fact, index) => html`${index === 0 ? '' : ' · '}<bdi>${fact}</bdi>`)}
          </p>
        </div>
        <span class="badge large" data-condition=${condition}>${state}</span>
      </div>
      ${
        droppedCount === 0
          ? nothing
          : html`<p class="notice">${text('destination.dropped', { count: number(droppedCount) })}</p>`
      }
      ${this.#buttons()}
      <p class=${said?.failed === true ? 'failure' : 'muted'} role="status">${news}</p>
      ${
        this.isOpen ? html`<destination-deliveries .destinationId=${destination.id}></destination-deliveries>` : nothing
      }
    </section>`
  }
}

customElements.define('destination-card', DestinationCard)
