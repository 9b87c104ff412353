import { html } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { PageElement } from './element.ts'

const SHOWN_MS = 5_000

/**
 * Announces short texts to eyes and to screen readers. Only results of the visitor's own actions, because jobs change too
 * often.
 */
class PageAnnouncer extends PageElement {
  static override properties: PropertyDeclarations = { said: { state: true } }

  declare private said: string
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor() {
    super()
    this.said = ''
  }

  say(sentence: string): void {
    this.said = sentence
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => (this.said = ''), SHOWN_MS)
  }

  protected override render(): TemplateResult {
    return html`<div class="announcer" role="status" ?data-empty=${this.said === ''}>${this.said}</div>`
  }
}

customElements.define('page-announcer', PageAnnouncer)

export const announce = (sentence: string): void => {
  document.querySelector<PageAnnouncer>('page-announcer')?.say(sentence)
}
