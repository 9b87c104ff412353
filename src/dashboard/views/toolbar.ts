import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { SORTS } from '../data/sorting.ts'
import type { Sort } from '../data/sorting.ts'
import { ADDRESS, navigate, withQuery } from '../router.ts'
import { number, text } from '../words.ts'
import * as icons from './icons.ts'

export interface StatusChoice {
  value: string
  label: string
  count?: number
}

/** The tabs above both lists. */
const views = (current: string): TemplateResult =>
  html`<nav class="tabs" aria-label=${text('jobs.views')}>
    <a href=${ADDRESS.jobs} aria-current=${current === 'active' ? 'page' : nothing}>${text('jobs.active')}</a>
    <a href=${ADDRESS.history()} aria-current=${current === 'history' ? 'page' : nothing}>${text('jobs.history')}</a>
  </nav>`

const set = (name: string, value: string): void =>
  navigate(withQuery({ [name]: value, page: null, cursor: null }), { replace: true })

/** Sorts the list; the order is kept in the address. */
export const sortBy = (sort: Sort): void => set('sort', sort === 'newest' ? '' : sort)

/** Browsers refuse a page that changes its address at every key. */
const TYPING_MS = 150

let typing: ReturnType<typeof setTimeout> | undefined

const soon = (change: () => void): void => {
  clearTimeout(typing)
  typing = setTimeout(change, TYPING_MS)
}

const sortField = (sort: Sort): TemplateResult =>
  html`<label class="field sort">
    <span class="vh">${text('jobs.sort')}</span>
    <select
      name="sort"
      .value=${sort}
      @change=${(event: Event) => sortBy((event.target as HTMLSelectElement).value as Sort)}
    >
      ${SORTS.map(each => html`<option value=${each} ?selected=${each === sort}>${text(`jobs.sort.${each}`)}</option>`)}
    </select>
  </label>`

/** Filters by text, type and status, which are kept in the address. Both lists have them. */
export const filters = (options: {
  view: 'active' | 'history'
  query: URLSearchParams
  searchLabel: string
  types: readonly string[]
  statuses: readonly StatusChoice[]
  status: string
  /** Absent: the list has only one order. */
  sort?: Sort
}): TemplateResult => {
  const { view, query, searchLabel, types, statuses, status, sort } = options
  const type = query.get('type') ?? ''
  const known = type === '' || types.includes(type) ? types : [type, ...types]
  return html`<div class="toolbar">
    ${views(view)}
    <label class="field search">
      <span class="vh">${searchLabel}</span>
      ${icons.search}
      <input
        type="search"
        name="q"
        placeholder=${searchLabel}
        maxlength="100"
        autocomplete="off"
        .value=${query.get('q') ?? ''}
        @input=${(event: InputEvent) => soon(() => set('q', (event.target as HTMLInputElement).value))}
      />
    </label>
    <label class="field">
      <span class="vh">${text('jobs.type')}</span>
      <select
        name="type"
        .value=${type}
        @change=${(event: Event) => set('type', (event.target as HTMLSelectElement).value)}
      >
        <option value="" ?selected=${type === ''}>${text('jobs.type.all')}</option>
        ${known.map(name => html`<option value=${name} ?selected=${name === type} dir="auto">${name}</option>`)}
      </select>
    </label>
    ${sort === undefined ? nothing : sortField(sort)}
    <div class="choices" role="group" aria-label=${text('jobs.status')}>
      ${statuses.map(
        ({ value, label, count }) =>
          html`<button
            type="button"
            class="choice"
            data-status=${value}
            aria-pressed=${value === status}
            ?data-calls=${value === 'attention' && (count ?? 0) > 0}
            @click=${() => set('status', value)}
          >
            ${label}${count === undefined ? nothing : html` <span class="number">${number(count)}</span>`}
          </button>`,
      )}
    </div>
  </div>`
}
