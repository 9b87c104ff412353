import { html } from 'lit'
import type { TemplateResult } from 'lit'
import { SPANS, USUAL_SPAN } from '../data/spans.ts'
import type { Span } from '../data/spans.ts'
import { navigate, withQuery } from '../router.ts'
import { text } from '../words.ts'

/** Buttons that choose the span of statistics. It is in the address. */
export const spanChoice = (chosen: Span): TemplateResult =>
  html`<div class="choices" role="group" aria-label=${text('statistics.span')}>
    ${SPANS.map(
      span =>
        html`<button
          type="button"
          class="choice"
          aria-pressed=${span === chosen}
          @click=${() => navigate(withQuery({ span: span === USUAL_SPAN ? null : span }), { replace: true })}
        >
          ${text(`statistics.span.${span}`)}
        </button>`,
    )}
  </div>`
