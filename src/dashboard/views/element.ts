import { LitElement } from 'lit'

/**
 * An element of the dashboard. It renders into the document itself, so that there is one stylesheet, and labels may refer to
 * any element. Styles are set through `.style=${…}` (CSSOM) and never by attribute, which the page's content security policy
 * forbids.
 */
export class PageElement extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    return this
  }
}
