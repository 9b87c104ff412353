import { html } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobDocument } from '../../contract/job.ts'
import { ADDRESS } from '../router.ts'
import { ROOT } from '../root.ts'
import { text } from '../words.ts'
import { announce } from './announcer.ts'

/** Copies a text, and says whether that worked: browsers forbid it without HTTPS. */
export const copy = async (value: string): Promise<void> => {
  try {
    await navigator.clipboard.writeText(value)
    announce(text('action.copied'))
  } catch {
    announce(text('hands.copy.failed'))
  }
}

/** A card of the job for any page. An id has no characters that HTML would have to escape. */
const snippetOf = (id: string): string =>
  `<script type="module" src="${ROOT.href}elements.js"></script>\n<headway-job-card job-id="${id}"></headway-job-card>\n`

const copyButton = (label: string, value: string): TemplateResult =>
  html`<button type="button" class="link" @click=${() => void copy(value)}>${label}</button>`

/** Buttons that copy a job's id, the address of its page, and a card of it for other pages. */
export const copyButtons = ({ id }: Pick<JobDocument, 'id'>): TemplateResult =>
  html`${copyButton(text('action.copy'), id)}
  ${copyButton(text('hands.copy.link'), new URL(ADDRESS.job(id), ROOT).href)}
  ${copyButton(text('hands.copy.snippet'), snippetOf(id))}`
