import { html } from 'lit'
import type { TemplateResult } from 'lit'
import { storedText } from '../../browser-client/stored-text.ts'
import { text } from '../words.ts'
import { PageElement } from './element.ts'
import * as icons from './icons.ts'

const CHOICES = ['system', 'light', 'dark'] as const
type Appearance = (typeof CHOICES)[number]

const ICONS = { system: icons.half, light: icons.sun, dark: icons.moon }
/** The key and the event are also in appearance.ts, which runs before this and sets the colours of the page. */
const CHANGED = 'headway:appearance'
const stored = storedText(() => localStorage, 'headway.appearance')
const system = matchMedia('(prefers-color-scheme: dark)')

const chosen = (): Appearance => CHOICES.find(choice => choice === stored.read()) ?? 'system'

const choose = (appearance: Appearance): void => {
  stored.write(appearance === 'system' ? null : appearance)
  dispatchEvent(new Event(CHANGED))
}

/** Calls `changed` when the colours of the page change for any reason. Answers a function that stops it. */
export const watchAppearance = (changed: () => void): (() => void) => {
  addEventListener(CHANGED, changed)
  system.addEventListener('change', changed)
  return () => {
    removeEventListener(CHANGED, changed)
    system.removeEventListener('change', changed)
  }
}

/** A switch between dark, light, and the system's appearance. */
class AppearanceSwitch extends PageElement {
  protected override render(): TemplateResult {
    const current = chosen()
    return html`<div class="switch" role="group" aria-label=${text('appearance.label')}>
      ${CHOICES.map(
        choice =>
          html`<button
            type="button"
            aria-pressed=${choice === current}
            aria-label=${text(`appearance.${choice}`)}
            title=${text(`appearance.${choice}`)}
            @click=${() => {
              choose(choice)
              this.requestUpdate()
            }}
          >
            ${ICONS[choice]}
          </button>`,
      )}
    </div>`
  }
}

customElements.define('appearance-switch', AppearanceSwitch)
