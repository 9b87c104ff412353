import { LitElement } from 'lit'

/**
 * An element of the dashboard. It renders into the document itself: one stylesheet for all, and labels that may point anywhere.
 * Styles are set through `.style=${…}` (CSSOM) and never by attribute, which the policy of the page refuses.
 */
export class PageElement extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    return this
  }
}
