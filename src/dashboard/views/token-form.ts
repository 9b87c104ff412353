import { html } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { headway } from '../feed.ts'
import { keepToken, readToken } from '../session.ts'
import { text } from '../words.ts'
import { PageElement } from './element.ts'

const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/

/** A form for a token. The service's answer about the last one stands below the field. */
class TokenForm extends PageElement {
  static override properties: PropertyDeclarations = {
    detail: { attribute: false },
    isMalformed: { state: true },
  }

  /** Why the service refused the token; null: none was sent. */
  declare detail: string | null
  declare private isMalformed: boolean

  constructor() {
    super()
    this.detail = null
    this.isMalformed = false
  }

  readonly #enter = (event: SubmitEvent): void => {
    event.preventDefault()
    const field = this.querySelector<HTMLInputElement>('input')
    // A token that was copied from a header often has the scheme before it.
    const token = (field?.value ?? '').trim().replace(/^bearer\s+/i, '')
    this.isMalformed = !JWT.test(token)
    if (this.isMalformed) {
      field?.focus()
      return
    }
    keepToken(token)
    headway.reconnect()
  }

  protected override render(): TemplateResult {
    const refusal = this.detail !== null && readToken() !== null ? text('token.refused', { detail: this.detail }) : ''
    const message = this.isMalformed ? text('token.malformed') : refusal
    return html`<form class="token-form" @submit=${this.#enter}>
      <label for="token">${text('token.label')}</label>
      <div class="token-entry">
        <input
          id="token"
          name="token"
          type="password"
          required
          autocomplete="off"
          spellcheck="false"
          placeholder="eyJhbGciOi…"
          aria-describedby="token-hint token-problem"
          aria-invalid=${message !== ''}
        />
        <button type="submit" class="button primary">${text('token.enter')}</button>
      </div>
      <p class="failure" id="token-problem" role="alert">${message}</p>
      <p class="muted" id="token-hint">${text('token.hint')}</p>
      <p class="muted">${text('token.make')}</p>
      <pre
        class="code"
        tabindex="0"
      ><code>headway token --tenant … --features view,cancel,create --expires 8h</code></pre>
    </form>`
  }
}

customElements.define('token-form', TokenForm)
