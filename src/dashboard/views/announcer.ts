import { html } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { PageElement } from './element.ts'

const SHOWN_MS = 5_000
/** Screen readers speak what is put into a region that they have known for a moment, and not what comes together with it. */
const KNOWN_MS = 500
/** Several watched jobs may end at once. */
const MOST = 4

/**
 * Announces short texts to eyes and to screen readers: results of the visitor's own actions, and the ends of jobs that the visitor
 * watches. Nothing else, because jobs change too often.
 */
class PageAnnouncer extends PageElement {
  static override properties: PropertyDeclarations = { said: { state: true } }

  declare private said: readonly { sentence: string }[]
  readonly #known = new Promise(resolve => setTimeout(resolve, KNOWN_MS))

  constructor() {
    super()
    this.said = []
  }

  async say(sentence: string): Promise<void> {
    await this.#known
    const one = { sentence }
    // What was said before is over, unless something else has just been said as well.
    this.said = [...this.said.filter(other => other.sentence !== sentence), one].slice(-MOST)
    setTimeout(() => (this.said = this.said.filter(other => other !== one)), SHOWN_MS)
  }

  protected override render(): TemplateResult {
    return html`<div class="announcer" role="status" ?data-empty=${this.said.length === 0}>
      ${this.said.map(({ sentence }) => html`<p>${sentence}</p>`)}
    </div>`
  }
}

customElements.define('page-announcer', PageAnnouncer)

export const announce = (sentence: string): void => {
  void document.querySelector<PageAnnouncer>('page-announcer')?.say(sentence)
}
