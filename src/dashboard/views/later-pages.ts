import type { TemplateResult } from 'lit'
import { text } from '../words.ts'
import { failure, loading } from './placeholders.ts'

/** Pages that are loaded when the visitor opens them: the list and the page of a job need not wait for them. */
const LOADERS = {
  history: () => import('./finished-jobs.ts'),
  statistics: () => import('./statistics-page.ts'),
  notifications: () => import('./notifications-page.ts'),
  type: () => import('./type-page.ts'),
}

export type LaterPage = keyof typeof LOADERS

export class LaterPages {
  readonly #states = new Map<LaterPage, 'loading' | 'loaded' | 'failed'>()
  readonly #changed: () => void

  /** `changed` is called when another page can be shown, or cannot be loaded. */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  /** The page, or what stands in its place until it is loaded. Where its file is gone, a reload brings the newer version of it. */
  show(page: LaterPage, content: TemplateResult): TemplateResult {
    switch (this.#states.get(page)) {
      case 'loaded':
        return content
      case 'failed':
        return failure(text('page.failed'), { status: 0, code: 'unreachable', detail: '' }, () => location.reload())
      case undefined:
        this.#states.set(page, 'loading')
        void LOADERS[page]().then(
          () => this.#end(page, 'loaded'),
          () => this.#end(page, 'failed'),
        )
    }
    return loading(text('page.loading'))
  }

  #end(page: LaterPage, state: 'loaded' | 'failed'): void {
    this.#states.set(page, state)
    this.#changed()
  }
}
