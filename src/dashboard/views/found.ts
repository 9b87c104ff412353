import { html } from 'lit'
import type { TemplateResult } from 'lit'

/**
 * Tells a screen reader how many jobs a filter has found, but only after the visitor has changed the filter: jobs come and go
 * too often.
 */
export class Found {
  #query: string | null = null
  #said = ''

  /** `found`: null while it is not known. */
  render(query: string, found: string | null): TemplateResult {
    if (found !== null && query !== this.#query) {
      this.#said = this.#query === null ? '' : found
      this.#query = query
    }
    return html`<p class="vh" role="status">${this.#said}</p>`
  }
}
