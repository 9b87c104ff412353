import { BASE_PATH } from '../../contract/http.ts'
import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { Problem } from '../data/reading.ts'
import { ROOT } from '../root.ts'
import { text } from '../words.ts'
import { logo } from './icons.ts'
import { problemText } from './problem-text.ts'

type Content = TemplateResult | typeof nothing

/** An empty list: why it is empty, and what to do. */
export const empty = (title: string, more: Content = nothing): TemplateResult =>
  html`<div class="empty">
    <span class="ornament">${logo}</span>
    <p class="empty-title">${title}</p>
    ${more}
  </div>`

/** Grey lines in place of content that is being loaded, so that the page does not jump. */
export const loading = (label: string): TemplateResult =>
  html`<div class="loading" role="status">
    <span class="vh">${label}</span>
    ${[0, 1, 2, 3, 4].map(() => html`<span class="bone"></span>`)}
  </div>`

/** A failure in the service's words, and a button to try again. */
export const failure = (title: string, problem: Problem, again?: () => void): TemplateResult =>
  html`<div class="empty" role="alert">
    <p class="empty-title">${title}</p>
    <p>${problemText(problem)}</p>
    ${
      again === undefined
        ? nothing
        : html`<button type="button" class="button" @click=${again}>${text('connection.retry')}</button>`
    }
  </div>`

/** A command that creates a job, with the address of this service. */
export const firstJobHint = (): TemplateResult =>
  html`<p class="first-job">${text('jobs.empty.hint')}</p>
    <pre class="code first-job" tabindex="0"><code>curl ${ROOT.href}${BASE_PATH.slice(1)}/jobs --json \\
  '{"jobType":"import","name":"Nightly import","totalCount":1200}'</code></pre>`
