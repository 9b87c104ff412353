import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { DESTINATION_KINDS, DESTINATION_SETTINGS, isChat, isSecretSetting } from '../../contract/destinations.ts'
import type { DestinationKind, DestinationSettings, SettingName } from '../../contract/destinations.ts'
import { LIFECYCLES } from '../../contract/states.ts'
import type { Lifecycle } from '../../contract/states.ts'
import type { WebhookWithSecret } from '../../contract/webhook.ts'
import { destinations } from '../data/destinations.ts'
import type { NewDestination } from '../data/destinations.ts'
import { problemOf } from '../data/reading.ts'
import { text } from '../words.ts'
import { PageElement } from './element.ts'
import { problemText } from './problem-text.ts'

/** Which changes are told, by what a visitor wants to know. */
const OCCASIONS: Readonly<Record<'all' | 'ends' | 'problems', readonly Lifecycle[]>> = {
  all: LIFECYCLES,
  ends: ['completed', 'failed', 'cancelled'],
  problems: ['failed', 'stalled', 'at_risk', 'overdue'],
}
type Occasion = keyof typeof OCCASIONS

/** What each setting looks like, by its name, or by kind and name where kinds differ. */
const EXAMPLES: Readonly<Record<string, string>> = {
  url: 'https://hooks.example.com/headway',
  'slack.token': 'xoxb-…',
  channel: 'C0123456789',
  'discord.url': 'https://discord.com/api/webhooks/…',
  'teams.url': 'https://….logic.azure.com/…',
  'telegram.token': '123456:ABC-…',
  chatId: '-1001234567890',
  homeserver: 'https://matrix.example.org',
  'matrix.token': 'syt_…',
  roomId: '!abc:example.org',
  to: 'team@example.com, lead@example.com',
}

const PROGRESS_SECONDS = 10

/** How the browser checks a setting before it is sent. */
const inputTypeOf = (name: SettingName): string =>
  name === 'token' ? 'password' : name === 'url' || name === 'homeserver' ? 'url' : 'text'

const settingsOf = (kind: DestinationKind, valueOf: (name: string) => string): DestinationSettings =>
  Object.fromEntries(
    DESTINATION_SETTINGS[kind].map(name => [
      name,
      name === 'to'
        ? valueOf(name)
            .split(/[\s,;]+/)
            .filter(address => address !== '')
        : valueOf(name),
    ]),
  )

/** The form of a new destination. Fires `destination-made` with what the service has answered, and `destination-left`. */
class DestinationForm extends PageElement {
  static override properties: PropertyDeclarations = {
    kind: { state: true },
    isBusy: { state: true },
    failure: { state: true },
  }

  declare private kind: DestinationKind
  declare private isBusy: boolean
  declare private failure: string

  constructor() {
    super()
    this.kind = 'webhook'
    this.isBusy = false
    this.failure = ''
  }

  #fieldsOf(form: HTMLFormElement): NewDestination {
    const data = new FormData(form)
    const valueOf = (name: string): string => {
      const value = data.get(name)
      return typeof value === 'string' ? value.trim() : ''
    }
    const { kind } = this
    const seconds = valueOf('progressIntervalSeconds')
    return {
      kind,
      ...(kind === 'webhook'
        ? { url: valueOf('url') }
        : { settings: settingsOf(kind, valueOf), language: document.documentElement.lang }),
      description: valueOf('description') || null,
      events: OCCASIONS[valueOf('occasion') as Occasion],
      jobType: valueOf('jobType') || null,
      progressIntervalSeconds: seconds === '' ? null : Number(seconds),
    }
  }

  readonly #send = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    if (this.isBusy) return
    this.isBusy = true
    this.failure = ''
    try {
      const made = await destinations.create(this.#fieldsOf(event.target as HTMLFormElement))
      this.dispatchEvent(new CustomEvent<WebhookWithSecret>('destination-made', { detail: made }))
    } catch (error) {
      this.failure = text('dialog.failed', { detail: problemText(problemOf(error)) })
    } finally {
      this.isBusy = false
    }
  }

  readonly #choose = (event: Event): void => {
    this.kind = (event.target as HTMLSelectElement).value as DestinationKind
    this.failure = ''
  }

  readonly #leave = (): void => {
    this.dispatchEvent(new Event('destination-left'))
  }

  #setting(name: SettingName): TemplateResult {
    const { kind } = this
    const isSecret = isSecretSetting(name) && kind !== 'webhook'
    return html`<label>
      <span>${text(`destination.${name}`)}</span>
      <input
        name=${name}
        type=${inputTypeOf(name)}
        required
        autocomplete="off"
        spellcheck="false"
        maxlength="2000"
        placeholder=${EXAMPLES[`${kind}.${name}`] ?? EXAMPLES[name] ?? ''}
      />
      ${isSecret ? html`<small class="muted">${text('destination.secret.hint')}</small>` : nothing}
    </label>`
  }

  #occasions(): TemplateResult {
    return html`<fieldset>
      <legend>${text('destination.occasion')}</legend>
      ${(Object.keys(OCCASIONS) as Occasion[]).map(
        (occasion, index) =>
          html`<label class="inline">
            <input type="radio" name="occasion" value=${occasion} ?checked=${index === 0} />
            ${text(`destination.occasion.${occasion}`)}
          </label>`,
      )}
    </fieldset>`
  }

  protected override render(): TemplateResult {
    const { kind } = this
    const tellsProgress = kind === 'webhook' || isChat(kind)
    return html`<form class="card destination-form" @submit=${this.#send} aria-labelledby="destination-title">
      <h2 id="destination-title">${text('destination.new')}</h2>
      <div class="fields">
        <label>
          <span>${text('destination.kind')}</span>
          <select name="kind" .value=${kind} @change=${this.#choose}>
            ${DESTINATION_KINDS.map(
              each =>
                html`<option value=${each} ?selected=${each === kind}>${text(`destination.kind.${each}`)}</option>`,
            )}
          </select>
          <small class="muted">${text(`destination.about.${kind}`)}</small>
        </label>
        ${(kind === 'webhook' ? (['url'] as const) : DESTINATION_SETTINGS[kind]).map(name => this.#setting(name))}
        <label>
          <span>${text('destination.description')}</span>
          <input name="description" maxlength="255" autocomplete="off" dir="auto" />
        </label>
        <label>
          <span>${text('destination.jobType')}</span>
          <input name="jobType" maxlength="100" autocomplete="off" dir="auto" placeholder=${text('jobs.type.all')} />
        </label>
        ${
          tellsProgress
            ? html`<label>
                <span>${text('destination.progress')}</span>
                <input
                  name="progressIntervalSeconds"
                  type="number"
                  min="1"
                  max="86400"
                  step="1"
                  .defaultValue=${isChat(kind) ? String(PROGRESS_SECONDS) : ''}
                  placeholder=${text('destination.progress.never')}
                />
              </label>`
            : nothing
        }
      </div>
      ${this.#occasions()}
      <p class="failure" role="alert">${this.failure}</p>
      <div class="buttons">
        <button type="submit" class="button primary" ?disabled=${this.isBusy}>${text('destination.make')}</button>
        <button type="button" class="button" @click=${this.#leave}>${text('destination.leave')}</button>
      </div>
    </form>`
  }
}

customElements.define('destination-form', DestinationForm)
