import { html } from 'lit'
import type { TemplateResult } from 'lit'

/** Tells a screen reader what a filter has found, when the visitor changed it: jobs come and go too often to be told of each. */
export class Found {
  #query: string | null = null
  #said = ''

  /** `found`: null as long as it is not known. */
  render(query: string, found: string | null): TemplateResult {
    if (found !== null && query !== this.#query) {
      this.#said = this.#query === null ? '' : found
      this.#query = query
    }
    return html`<p class="vh" role="status">${this.#said}</p>`
  }
}
