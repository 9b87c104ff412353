import { html } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { text } from '../words.ts'
import './active-jobs.ts'
import { PageElement } from './element.ts'
import './first-run.ts'
import { LaterPages } from './later-pages.ts'
import './recent-jobs.ts'
import './since-last-look.ts'

/** The page of jobs: the active ones, live, or the finished ones. */
class JobsPage extends PageElement {
  static override properties: PropertyDeclarations = { query: { attribute: false } }

  declare query: URLSearchParams
  readonly #later = new LaterPages(() => this.requestUpdate())

  protected override render(): TemplateResult {
    const isHistory = this.query.get('view') === 'history'
    return html`<h1 class="vh">${text('page.jobs')}</h1>
      <since-last-look></since-last-look>
      ${
        isHistory
          ? this.#later.show('history', html`<finished-jobs .query=${this.query}></finished-jobs>`)
          : html`<first-run></first-run>
              <div class="with-aside">
                <active-jobs .query=${this.query}></active-jobs>
                <recent-jobs></recent-jobs>
              </div>`
      }`
  }
}

customElements.define('jobs-page', JobsPage)
