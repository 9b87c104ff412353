import { css, html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import { conditionOf } from '../browser-client/condition.ts'
import { hasJustFinished } from '../browser-client/documents.ts'
import { isFinished } from '../contract/states.ts'
import { isArriving } from '../browser-client/shown-clock.ts'
import type { ConnectionState, HeadwayClient, JobFilter } from '../browser-client/types.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { isolated } from '../messages/language.ts'
import { followList } from './connections.ts'
import { Dismissed } from './dismissed.ts'
import { HeadwayElement } from './element.ts'
import { renderMark, endText } from './job-view.ts'
import { shared } from './styles.ts'

/** More cards would only make the page slow. */
const MAX_CARDS = 20
const EXPANDED_KEY = 'headway:top-bar:expanded'
/** Jobs that end within this time are announced together. */
const ANNOUNCE_MS = 500
const MAX_ANNOUNCED = 3

const readExpanded = (): boolean => {
  try {
    return localStorage.getItem(EXPANDED_KEY) === 'true'
  } catch {
    return false
  }
}

const keepExpanded = (expanded: boolean): void => {
  try {
    localStorage.setItem(EXPANDED_KEY, String(expanded))
  } catch {
    // Storage is full or forbidden: only this page remembers.
  }
}

/**
 * `<headway-top-bar>`: one line about the running jobs, which unfolds into a card per job. It takes no room while there is no
 * job to show. The attributes `job-type` and `organization-id` narrow the jobs down. Parts: bar, summary, spinner, count,
 * first, connection, toggle, list, more.
 */
export class HeadwayTopBar extends HeadwayElement {
  static override properties: PropertyDeclarations = {
    ...HeadwayElement.properties,
    jobType: { attribute: 'job-type' },
    organizationId: { attribute: 'organization-id' },
    expanded: { type: Boolean, reflect: true },
  }

  static override styles = [
    shared,
    css`
      :host {
        position: relative;
      }
      .bar {
        border-block-end: 1px solid var(--_border);
        background: var(--headway-surface, transparent);
      }
      .summary {
        display: flex;
        align-items: center;
        gap: var(--_gap);
        width: 100%;
        padding: var(--headway-padding, 8px 16px);
        border: 0;
        background: none;
        text-align: start;
      }
      .summary:hover {
        background: color-mix(in srgb, currentcolor 6%, transparent);
      }
      .first {
        flex: 0 1 auto;
        min-width: 0;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
        font-variant-numeric: tabular-nums;
      }
      .chevron {
        margin-inline-start: auto;
        width: 0.6em;
        height: 0.6em;
        flex: none;
        border: solid currentcolor;
        border-width: 0 2px 2px 0;
        rotate: 45deg;
        translate: 0 -0.15em;
      }
      [aria-expanded='true'] .chevron {
        rotate: 225deg;
        translate: 0 0.15em;
      }
      ul {
        display: grid;
        grid-template-columns: minmax(0, 1fr);
        gap: var(--_gap);
        margin: 0;
        padding: 4px 16px 12px;
        list-style: none;
        max-height: var(--headway-list-height, 60vh);
        overflow-y: auto;
      }
    `,
  ]

  declare jobType: string | undefined
  declare organizationId: string | undefined
  /** Whether the bar is unfolded. The choice is stored for all pages of the origin; the attribute takes precedence. */
  declare expanded: boolean

  protected readonly followed = ['jobType', 'organizationId']
  protected client: HeadwayClient | null = null
  #ended: LiveJob[] = []
  readonly #dismissed = new Dismissed()
  #announcement = ''
  #announcing: ReturnType<typeof setTimeout> | undefined
  #hadFocus = false

  constructor() {
    super()
    this.expanded = readExpanded()
  }

  protected override willUpdate(changed: PropertyValues): void {
    super.willUpdate(changed)
    // Finished jobs leave after a while, and the time left counts down.
    this.tickWhile(this.#jobs().length > 0)
    this.#hadFocus = this.shadowRoot?.activeElement?.localName === 'headway-job-card'
  }

  protected override updated(): void {
    // The card that had the focus is gone. Without this the page would lose the focus.
    if (this.#hadFocus && !this.shadowRoot?.activeElement) this.renderRoot.querySelector('button')?.focus()
  }

  protected override render(): TemplateResult {
    return html`${this.#renderBar()}<span class="spoken" role="status">${this.#announcement}</span>`
  }

  #renderBar(): TemplateResult | typeof nothing {
    const { language, expanded } = this
    const jobs = this.#jobs()
    const [first] = jobs
    const client = this.client
    if (!first || !client) return nothing
    const active = jobs.filter(job => !isFinished(job))
    const count =
      active.length > 0
        ? language.text('progress.activeCount', { count: active.length })
        : language.text('progress.recentlyCompleted', { count: jobs.length })
    const marked = active.find(job => conditionOf(job, this.shownMs(client, job)) === 'running') ?? first
    const isOld = active.length > 0 && !isArriving(client.connection)
    return html`<section class="bar ${isOld ? 'old' : ''}" part="bar" aria-label=${language.text('progress.title')}>
      <button
        type="button"
        class="summary"
        part="summary"
        aria-expanded=${expanded ? 'true' : 'false'}
        aria-controls="list"
        title=${language.text(expanded ? 'progress.hide' : 'progress.show')}
        @click=${() => this.#toggle()}
      >
        ${renderMark(marked, this.shownMs(client, marked))}
        <span part="count">${count}</span>
        ${active.length > 0 ? this.#renderFirst(first) : nothing} ${this.#renderConnection(client.connection)}
        <span class="chevron" part="toggle" aria-hidden="true"></span>
      </button>
      <ul id="list" part="list" ?hidden=${!expanded}>
        ${expanded ? this.#renderCards(jobs) : nothing}
      </ul>
    </section>`
  }

  #renderFirst(job: LiveJob): TemplateResult {
    const { language } = this
    const text = language.text('progress.first', {
      name: isolated(job.name),
      percent: language.percent(job.progressPercent),
    })
    return html`<span class="first muted" part="first">${text}</span>`
  }

  /** Shown only if the connection is not live. */
  #renderConnection(connection: ConnectionState): TemplateResult | typeof nothing {
    if (connection === 'live' || connection === 'connecting') return nothing
    const text = this.language.text(`progress.connection.${connection}`)
    return html`<span class="small warning" part="connection">${text}</span>`
  }

  #renderCards(jobs: readonly LiveJob[]): unknown {
    const client = this.client
    const more = jobs.length - MAX_CARDS
    return html`${repeat(
      jobs.slice(0, MAX_CARDS),
      job => job.id,
      job =>
        html`<li>
          <headway-job-card
            .job=${job}
            .client=${client}
            .dismiss=${this.#dismiss}
            exportparts=${CARD_PARTS}
          ></headway-job-card>
        </li>`,
    )}
    ${more > 0 ? html`<li class="muted small" part="more">${this.language.text('progress.more', { count: more })}</li>` : nothing}`
  }

  /** The running jobs, and then those that have just finished. */
  #jobs(): readonly LiveJob[] {
    const client = this.client
    if (!client) return []
    const nowMs = client.now()
    return client.jobs().filter(job => !isFinished(job) || (hasJustFinished(job, nowMs) && !this.#dismissed.has(job)))
  }

  readonly #dismiss = (job: LiveJob): void => {
    this.#dismissed.add(job)
    this.requestUpdate()
  }

  #toggle(): void {
    this.expanded = !this.expanded
    keepExpanded(this.expanded)
  }

  protected follow(): () => void {
    const { jobType, organizationId } = this
    const filter: JobFilter = {
      topLevel: true,
      ...(jobType && { jobType }),
      ...(organizationId && { organizationId }),
    }
    const stops: (() => void)[] = []
    const use = (client: HeadwayClient) => {
      this.client = client
      stops.push(
        client.subscribe(() => this.requestUpdate()),
        client.on('finished', job => this.#announce(job)),
      )
      this.requestUpdate()
    }
    stops.push(followList(this.source, filter, use))
    return () => {
      for (const stop of stops) stop()
      this.client = null
      clearTimeout(this.#announcing)
      this.#announcing = undefined
      this.#ended = []
    }
  }

  /** Screen readers announce ends and no progress: a voice that counts to a hundred is noise. */
  #announce(job: LiveJob): void {
    this.#ended.push(job)
    this.#announcing ??= setTimeout(() => {
      this.#announcing = undefined
      const ended = this.#ended.splice(0)
      const { language } = this
      this.#announcement =
        ended.length > MAX_ANNOUNCED
          ? language.text('progress.recentlyCompleted', { count: ended.length })
          : ended.map(job => endText(language, job)).join('. ')
      this.requestUpdate()
    }, ANNOUNCE_MS)
  }
}

const CARD_PARTS = [
  'card',
  'name',
  'status',
  'message',
  'error',
  'track',
  'fill',
  'figures',
  'rate',
  'eta',
  'eta-range',
  'as-of',
  'cancel',
  'question',
  'cancel-yes',
  'cancel-no',
  'retry',
  'dismiss',
].join()
