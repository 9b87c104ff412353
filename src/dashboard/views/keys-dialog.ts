import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { createRef, ref } from 'lit/directives/ref.js'
import { focusNear, isFocusLost, surroundingsOf } from '../focus.ts'
import { areKeysOn, switchKeys } from '../keys.ts'
import { text } from '../words.ts'
import { PageElement } from './element.ts'

const KEYS = [
  { keys: ['/'], does: 'find' },
  { keys: ['j', 'k'], does: 'rows' },
  { keys: ['Enter'], does: 'open' },
  { keys: ['\u2190', '\u2191', '\u2192', '\u2193'], does: 'cells' },
  { keys: ['?'], does: 'help' },
] as const

/** Says what keys do, and switches single keys off and on. */
export class KeysDialog extends PageElement {
  readonly #dialog = createRef<HTMLDialogElement>()
  #from: readonly Element[] = []
  /** What nobody has opened is not made. */
  #wasOpened = false

  async show(): Promise<void> {
    this.#from = surroundingsOf(document.activeElement)
    this.#wasOpened = true
    this.requestUpdate()
    await this.updateComplete
    this.#dialog.value?.showModal()
  }

  readonly #closed = (): void => {
    if (isFocusLost()) focusNear(this.#from)
  }

  protected override render(): TemplateResult {
    return html`<dialog class="dialog" aria-labelledby="keys-title" @close=${this.#closed} ${ref(this.#dialog)}>
      ${this.#wasOpened ? this.#content() : nothing}
    </dialog>`
  }

  #content(): TemplateResult {
    return html`<h2 id="keys-title">${text('hands.keys')}</h2>
      <dl class="keys">
        ${KEYS.map(
          ({ keys, does }) =>
            html`<div>
              <dt>${keys.map(key => html`<kbd>${key}</kbd> `)}</dt>
              <dd>${text(`hands.key.${does}`)}</dd>
            </div>`,
        )}
      </dl>
      <label class="keys-switch">
        <input
          type="checkbox"
          .checked=${areKeysOn()}
          @change=${(event: Event) => switchKeys((event.target as HTMLInputElement).checked)}
        />
        ${text('hands.keys.on')}
      </label>
      <form class="buttons" method="dialog">
        <button type="submit" class="button" autofocus>${text('hands.close')}</button>
      </form>`
  }
}

customElements.define('keys-dialog', KeysDialog)
