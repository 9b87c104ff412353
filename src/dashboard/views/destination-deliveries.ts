import { html } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { LIFECYCLES } from '../../contract/states.ts'
import type { Lifecycle } from '../../contract/states.ts'
import type { DeliveryDocument } from '../../contract/webhook.ts'
import { MESSAGE_TYPE_PREFIX, TEST_TYPE } from '../../contract/webhook.ts'
import { destinations } from '../data/destinations.ts'
import { Reading } from '../data/reading.ts'
import { Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { number, text } from '../words.ts'
import { PageElement } from './element.ts'
import { agoTag } from './times.ts'
import { failure, loading } from './placeholders.ts'
import { plainTable } from './plain-table.ts'

const REST_MS = 1_000
/** How often the list is read while it is shown. */
const POLL_MS = 3_000

const isLifecycle = (name: string): name is Lifecycle => LIFECYCLES.some(each => each === name)

/** What a message told: how a job changed, how far it was, or that it was a test. A change of a later version has its own name. */
const occasionOf = (type: string): string => {
  if (type === TEST_TYPE) return text('delivery.test')
  const name = type.replace(MESSAGE_TYPE_PREFIX, '')
  if (name === 'updated') return text('event.progress')
  if (name === 'retried') return text('action.retry')
  return isLifecycle(name) ? text(`event.${name}`) : name
}

/** Why an attempt failed: the receiver's status, and what went wrong. */
export const reasonOfDelivery = ({ status, responseStatus, error }: DeliveryDocument): string =>
  status === 'delivered'
    ? ''
    : [responseStatus === null ? '' : text('delivery.answer', { status: String(responseStatus) }), error ?? '']
        .filter(part => part !== '')
        .join(' · ')

/** The newest messages to a destination, and what became of them. */
class DestinationDeliveries extends PageElement {
  static override properties: PropertyDeclarations = { destinationId: { attribute: false } }

  declare destinationId: string
  #reading: Reading<DeliveryDocument[]> | null = null
  #timer: ReturnType<typeof setInterval> | undefined

  constructor() {
    super()
    new Live(this)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    this.#reading = new Reading(signal => destinations.deliveries(this.destinationId, signal), REST_MS)
    this.#reading.refresh()
    this.#timer = setInterval(() => this.refresh(), POLL_MS)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearInterval(this.#timer)
    this.#reading?.stop()
  }

  refresh(): void {
    this.#reading?.refresh()
  }

  protected override render(): TemplateResult {
    const { value = null, problem = null } = this.#reading ?? {}
    if (value === null) {
      return problem === null
        ? loading(text('delivery.loading'))
        : failure(text('delivery.unreadable'), problem, () => this.refresh())
    }
    if (value.length === 0) return html`<p class="muted">${text('delivery.none')}</p>`
    const nowMs = shownNow()
    const heads = (['when', 'what', 'state', 'attempts', 'why'] as const).map(name => ({
      head: text(`delivery.${name}`),
    }))
    return plainTable(
      text('delivery.title'),
      heads,
      value.map(delivery => this.#cells(delivery, nowMs)),
    )
  }

  #cells(delivery: DeliveryDocument, nowMs: number): (TemplateResult | string)[] {
    const { type, jobId, status, attempts, createdAt } = delivery
    const occasion = occasionOf(type)
    const reason = reasonOfDelivery(delivery)
    const condition = status === 'dead' ? 'failed' : status === 'delivered' ? 'completed' : 'pending'
    return [
      agoTag(createdAt, nowMs),
      jobId === null ? occasion : html`<a href=${ADDRESS.job(jobId)}>${occasion}</a>`,
      html`<span class="badge" data-condition=${condition}>${text(`delivery.${status}`)}</span>`,
      number(attempts),
      reason === '' ? '' : html`<div class="message"><bdi>${reason}</bdi></div>`,
    ]
  }
}

customElements.define('destination-deliveries', DestinationDeliveries)
