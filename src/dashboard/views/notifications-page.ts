import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { WebhookDocument, WebhookWithSecret } from '../../contract/webhook.ts'
import { destinations } from '../data/destinations.ts'
import { Reading } from '../data/reading.ts'
import { Live } from '../feed.ts'
import { text } from '../words.ts'
import './destination-card.ts'
import './destination-form.ts'
import { PageElement } from './element.ts'
import { empty, failure, loading } from './placeholders.ts'

const REST_MS = 500
/** How often the page looks whether the destinations work. */
const POLL_MS = 10_000

/** The page on which a tenant says where messages about its jobs are sent. */
class NotificationsPage extends PageElement {
  static override properties: PropertyDeclarations = { isAdding: { state: true }, made: { state: true } }

  declare private isAdding: boolean
  /** The destination that was just made, with the secret that is shown only once. */
  declare private made: WebhookWithSecret | null
  #reading: Reading<WebhookDocument[]> | null = null
  #timer: ReturnType<typeof setInterval> | undefined

  constructor() {
    super()
    new Live(this)
    this.isAdding = false
    this.made = null
  }

  override connectedCallback(): void {
    super.connectedCallback()
    this.#reading = new Reading(destinations.list, REST_MS)
    this.#reading.refresh()
    this.#timer = setInterval(this.#refresh, POLL_MS)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearInterval(this.#timer)
    this.#reading?.stop()
  }

  readonly #refresh = (): void => {
    this.#reading?.refresh()
  }

  readonly #add = (): void => {
    this.isAdding = true
    this.made = null
    void this.updateComplete.then(() => this.querySelector<HTMLElement>('destination-form select')?.focus())
  }

  readonly #leave = (): void => {
    this.isAdding = false
    this.#focusAdd()
  }

  readonly #made = ({ detail }: CustomEvent<WebhookWithSecret>): void => {
    this.made = detail
    this.isAdding = false
    this.#refresh()
    this.#focusAdd()
  }

  #focusAdd(): void {
    void this.updateComplete.then(() => this.querySelector<HTMLElement>('.add')?.focus())
  }

  protected override render(): TemplateResult {
    return html`<div class="page-head">
        <div>
          <h1>${text('notifications.title')}</h1>
          <p class="muted">${text('notifications.lead')}</p>
        </div>
        ${
          this.isAdding || this.#reading?.value === null
            ? nothing
            : html`<button type="button" class="button primary add" @click=${this.#add}>
                ${text('destination.add')}
              </button>`
        }
      </div>
      ${
        this.isAdding
          ? html`<destination-form @destination-made=${this.#made} @destination-left=${this.#leave}></destination-form>`
          : nothing
      }
      ${this.#secret()} ${this.#list()}`
  }

  /** The secret by which a receiver checks that messages are the service's. */
  #secret(): TemplateResult {
    const secret = this.made?.secret ?? null
    return html`<div role="status">
      ${
        this.made === null
          ? nothing
          : html`<section class="card made">
              <p>${text('destination.made')}</p>
              ${
                secret === null
                  ? nothing
                  : html`<p>${text('destination.signing')}</p>
                      <pre class="code" tabindex="0">${secret}</pre>`
              }
            </section>`
      }
    </div>`
  }

  #list(): TemplateResult {
    const { value = null, problem = null } = this.#reading ?? {}
    if (value === null) {
      return problem === null
        ? loading(text('notifications.loading'))
        : failure(text('notifications.failed'), problem, this.#refresh)
    }
    if (value.length === 0) return this.isAdding ? html`` : empty(text('notifications.empty'))
    return html`<div class="destinations" @destination-changed=${this.#refresh}>
      ${repeat(
        value,
        ({ id }) => id,
        destination => html`<destination-card .destination=${destination}></destination-card>`,
      )}
    </div>`
  }
}

customElements.define('notifications-page', NotificationsPage)
