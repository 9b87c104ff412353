import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { text } from '../words.ts'
import { actionsOf, confirmAction } from './dialogs.ts'
import * as icons from './icons.ts'

/** The button of a row for what can be done with its job: cancel it, or retry it. It asks first. */
export const rowAction = (job: Parameters<typeof confirmAction>[1]): TemplateResult | typeof nothing => {
  const [action] = actionsOf(job)
  return action === undefined
    ? nothing
    : html`<button
        type="button"
        class="quiet"
        aria-label=${text(`action.${action}.of`, { name: job.name })}
        title=${text(`action.${action}`)}
        @click=${() => confirmAction(action, job)}
      >
        ${action === 'cancel' ? icons.stop : icons.again}
      </button>`
}
