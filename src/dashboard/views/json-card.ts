import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'

/** An object of the caller's, as it is; nothing if it is empty. */
export const jsonCard = (title: string, value: Record<string, unknown> | null): TemplateResult | typeof nothing =>
  value === null || Object.keys(value).length === 0
    ? nothing
    : html`<section class="card">
        <h2>${title}</h2>
        <pre class="code" tabindex="0">${JSON.stringify(value, null, 2)}</pre>
      </section>`
