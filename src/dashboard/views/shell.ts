import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { ConnectionState } from '../../browser-client/index.ts'
import type { Problem } from '../data/reading.ts'
import { keepFocus } from '../focus.ts'
import { headway, lastConnectedMs, Live, shownNow } from '../feed.ts'
import { watchKeys } from '../keys.ts'
import { ADDRESS, currentRoute, watchAddress } from '../router.ts'
import type { Route } from '../router.ts'
import { keepToken, mayDo, readToken } from '../session.ts'
import { tabFace } from '../tab-face.ts'
import { moment, text } from '../words.ts'
import './announcer.ts'
import './appearance-switch.ts'
import { startBells } from './bell.ts'
import './dialogs.ts'
import { PageElement } from './element.ts'
import * as icons from './icons.ts'
import './job-page.ts'
import './jobs-page.ts'
import { KeysDialog } from './keys-dialog.ts'
import { LaterPages } from './later-pages.ts'
import { problemText } from './problem-text.ts'
import './token-form.ts'

const HINTS: Partial<Record<ConnectionState, () => string>> = {
  live: () => text('connection.hint.live'),
  polling: () => text('connection.hint.polling'),
}

const connectionMark = (state: ConnectionState): TemplateResult =>
  html`<span class="connection" role="status" data-state=${state} title=${HINTS[state]?.() ?? ''}>
    ${icons.connectionIcon(state)} <span>${text(`connection.${state}`)}</span>
  </span>`

const forgetToken = (): void => {
  keepToken(null)
  // A reload removes everything that was shown with the old token.
  location.reload()
}

/** The identity of a page: filters change its content, and do not make it another page. */
const placeOf = (route: Route): string =>
  route.page === 'job' ? route.id : route.page === 'type' ? `type ${route.jobType}` : route.page

const titleOf = (route: Route): string => {
  const { page, query } = route
  if (page === 'type') return route.jobType
  if (page === 'statistics' || page === 'notifications') return text(`nav.${page}`)
  return query.get('view') === 'history' ? text('jobs.history') : text('nav.jobs')
}

/** The whole page: the header, and the page that the address names. */
export class HeadwayDashboard extends PageElement {
  #route: Route = currentRoute()
  readonly #later = new LaterPages(() => this.requestUpdate())

  constructor() {
    super()
    new Live(this)
    keepFocus()
    watchKeys(this.#showKeys)
    watchAddress(() => {
      const before = placeOf(this.#route)
      this.#route = currentRoute()
      this.requestUpdate()
      if (before !== placeOf(this.#route)) void this.updateComplete.then(() => this.#focusContent())
    })
  }

  readonly #showKeys = (): void => {
    const dialog = this.querySelector('keys-dialog')
    if (dialog instanceof KeysDialog) void dialog.show()
  }

  /** Moves the focus to the content, so that a screen reader user who follows a link does not begin in the header again. */
  #focusContent(): void {
    this.querySelector<HTMLElement>('main')?.focus({ preventScroll: true })
  }

  protected override firstUpdated(): void {
    // What announces an end is there now.
    startBells()
  }

  protected override updated(): void {
    const route = this.#route
    // The page of a job sets its own title.
    if (route.page === 'jobs') tabFace.showList(titleOf(route))
    else if (route.page !== 'job') tabFace.showPage(titleOf(route))
  }

  protected override render(): TemplateResult {
    const { connection, loaded, problem } = headway.state()
    // Updates the clock that the banner reads.
    shownNow()
    const isLockedOut = connection === 'unauthorized' && !loaded
    return html`<a class="skip" href="#content" @click=${this.#skip}>${text('nav.skip')}</a>
      ${this.#header(connection)} ${isLockedOut ? nothing : this.#banner(connection, problem)}
      <main id="content" tabindex="-1">
        ${isLockedOut ? this.#lockedOut(problem?.detail ?? null) : this.#content()}
      </main>
      <confirm-dialog></confirm-dialog>
      <keys-dialog></keys-dialog>
      <page-announcer></page-announcer>`
  }

  readonly #skip = (event: Event): void => {
    event.preventDefault()
    this.#focusContent()
  }

  #header(connection: ConnectionState): TemplateResult {
    const { page } = this.#route
    const current = (isHere: boolean) => (isHere ? 'page' : nothing)
    return html`<header class="top">
      <a class="brand" href=${ADDRESS.jobs} aria-label="Headway">${icons.logo} <span>Headway</span></a>
      <nav aria-label=${text('nav.label')}>
        <a href=${ADDRESS.jobs} aria-current=${current(page === 'jobs')}>${text('nav.jobs')}</a>
        <a href=${ADDRESS.statistics} aria-current=${current(page === 'statistics')}>${text('nav.statistics')}</a>
        ${
          mayDo('manage')
            ? html`<a
                class="notifications"
                href=${ADDRESS.notifications}
                aria-current=${current(page === 'notifications')}
                >${icons.bell} <span>${text('nav.notifications')}</span></a
              >`
            : nothing
        }
        <a href=${ADDRESS.documentation} class="outside">${text('nav.api')}</a>
      </nav>
      <div class="top-right">
        ${connectionMark(connection)}
        <button
          type="button"
          class="quiet keys-button"
          aria-label=${text('hands.keys')}
          title=${text('hands.keys')}
          @click=${this.#showKeys}
        >
          <span aria-hidden="true">?</span>
        </button>
        <appearance-switch></appearance-switch>
        ${
          readToken() === null
            ? nothing
            : html`<button
                type="button"
                class="quiet"
                aria-label=${text('token.forget')}
                title=${text('token.forget')}
                @click=${forgetToken}
              >
                ${icons.key}
              </button>`
        }
      </div>
    </header>`
  }

  #banner(connection: ConnectionState, problem: Problem | null): TemplateResult | typeof nothing {
    if (connection === 'reconnecting') {
      const since = lastConnectedMs()
      const lost = since === null ? '' : text('connection.lost', { time: moment(since, Date.now()) })
      // If the service answered, its problem says why.
      const why = problem !== null && problem.status > 0 ? problemText(problem) : ''
      return html`<div class="banner" data-kind="warning">
        <p>${[lost, why].filter(Boolean).join(' ') || text('connection.lost.never')}</p>
        <button type="button" class="button" @click=${() => headway.reconnect()}>${text('connection.retry')}</button>
      </div>`
    }
    if (connection === 'polling') {
      return html`<div class="banner" data-kind="info"><p>${text('connection.hint.polling')}</p></div>`
    }
    if (connection === 'unauthorized') {
      return html`<div class="banner tall" data-kind="warning">
        <div>
          <h2>${text('token.again.title')}</h2>
          <p>${text('token.again.hint')}</p>
          <token-form .detail=${problem?.detail ?? null}></token-form>
        </div>
      </div>`
    }
    return nothing
  }

  #lockedOut(detail: string | null): TemplateResult {
    return html`<section class="card locked-out">
      <span class="ornament">${icons.logo}</span>
      <h1>${text('token.title')}</h1>
      <token-form .detail=${detail}></token-form>
    </section>`
  }

  #content(): TemplateResult {
    const route = this.#route
    if (route.page === 'jobs') return html`<jobs-page .query=${route.query}></jobs-page>`
    if (route.page === 'statistics')
      return this.#later.show(route.page, html`<statistics-page .query=${route.query}></statistics-page>`)
    if (route.page === 'notifications')
      return this.#later.show(route.page, html`<notifications-page></notifications-page>`)
    if (route.page === 'type')
      return this.#later.show(route.page, html`<type-page .jobType=${route.jobType} .query=${route.query}></type-page>`)
    return html`<job-page .jobId=${route.id} .query=${route.query}></job-page>`
  }
}
