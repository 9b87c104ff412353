import { html, noChange } from 'lit'
import type { TemplateResult } from 'lit'
import { instantOf, MORE_FILTERS, spanOf, SPANS_MS } from '../data/history-query.ts'
import { navigate, withQuery } from '../router.ts'
import { text } from '../words.ts'

const set = (changes: Record<string, string | null>): void =>
  navigate(withQuery({ ...changes, page: null, cursor: null }), { replace: true })

const pad = (value: number): string => String(value).padStart(2, '0')

/** An instant as the field of a date and a time takes it: in the visitor's time, without the zone. */
export const localOf = (iso: string | null): string => {
  if (iso === null) return ''
  const date = new Date(iso)
  const day = `${String(date.getFullYear()).padStart(4, '0')}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`
  return `${day}T${pad(date.getHours())}:${pad(date.getMinutes())}`
}

const timeField = (name: 'from' | 'to', label: string, query: URLSearchParams): TemplateResult =>
  html`<label class="field labelled">
    <span>${label}</span>
    <input
      type="datetime-local"
      name=${name}
      .value=${localOf(instantOf(query.get(name)))}
      @change=${(event: Event) => {
        // A field that is being edited is empty in between.
        const instant = instantOf((event.target as HTMLInputElement).value)
        set({ [name]: instant, ...(name === 'from' && instant !== null && { span: null }) })
      }}
    />
  </label>`

const textField = (name: 'by' | 'error', label: string, most: number, query: URLSearchParams): TemplateResult =>
  html`<label class="field labelled">
    <span>${label}</span>
    <input
      type="search"
      name=${name}
      maxlength=${most}
      autocomplete="off"
      .value=${query.get(name) ?? ''}
      @change=${(event: Event) => set({ [name]: (event.target as HTMLInputElement).value.trim() })}
    />
  </label>`

/** The filters of the history by time, by who has begun a job, and by error, and whether failures are grouped. */
export const historyFilters = (query: URLSearchParams, isGrouped: boolean): TemplateResult => {
  const span = spanOf(query)
  const isUsed = MORE_FILTERS.some(name => name !== 'span' && query.has(name))
  // A filter that is removed does not close what the visitor is using.
  return html`<div class="more-filters">
    <label class="field">
      <span class="vh">${text('filters.time')}</span>
      <select
        name="span"
        .value=${span}
        @change=${(event: Event) => set({ span: (event.target as HTMLSelectElement).value, from: null, to: null })}
      >
        <option value="" ?selected=${span === ''}>${text('filters.time.any')}</option>
        ${Object.keys(SPANS_MS).map(
          each =>
            html`<option value=${each} ?selected=${each === span}>
              ${text(`filters.time.${each as keyof typeof SPANS_MS}`)}
            </option>`,
        )}
      </select>
    </label>
    <button
      type="button"
      class="choice"
      aria-pressed=${isGrouped}
      @click=${() => set({ view: 'history', grouped: isGrouped ? null : '1', status: null })}
    >
      ${text('filters.grouped')}
    </button>
    <details ?open=${isUsed ? true : noChange}>
      <summary>${text('filters.more')}</summary>
      <div class="fields">
        ${timeField('from', text('filters.from'), query)} ${timeField('to', text('filters.to'), query)}
        ${textField('by', text('details.startedBy'), 255, query)}
        ${textField('error', text('filters.error'), 200, query)}
      </div>
    </details>
  </div>`
}
