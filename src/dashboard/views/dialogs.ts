import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { createRef, ref } from 'lit/directives/ref.js'
import type { JobDocument } from '../../contract/job.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { problemOf } from '../data/reading.ts'
import { headway } from '../feed.ts'
import { focusNear, isFocusLost, surroundingsOf } from '../focus.ts'
import { mayDo } from '../session.ts'
import { isolated, text } from '../words.ts'
import { announce } from './announcer.ts'
import { PageElement } from './element.ts'
import { problemText } from './problem-text.ts'

type Target = Pick<
  LiveJob & JobDocument,
  'id' | 'name' | 'status' | 'attempt' | 'cancellable' | 'cancelRequestedAt' | 'children' | 'parentJobId'
>

export type Action = 'cancel' | 'retry'

/** The actions that the job's state and the token allow. */
export const actionsOf = (job: Target): Action[] => {
  const isActive = job.status === 'pending' || job.status === 'running'
  if (isActive) return job.cancellable && job.cancelRequestedAt === null && mayDo('cancel') ? ['cancel'] : []
  return job.status !== 'completed' && mayDo('create') ? ['retry'] : []
}

const questionOf = (action: Action, job: Target): string => {
  const { attempt } = job
  const name = isolated(job.name)
  if (action === 'retry') {
    return job.children === null
      ? text('retry.text', { name, attempt: attempt + 1 })
      : text('retry.text.batch', { name })
  }
  if (job.children !== null) return text('cancel.text.batch', { name })
  return text(job.status === 'pending' ? 'cancel.text.pending' : 'cancel.text', { name })
}

const DO = { cancel: (id: string) => headway.cancel(id), retry: (id: string) => headway.retry(id) }

/** Asks before an action that cannot be undone, carries it out, and announces the result. */
class ConfirmDialog extends PageElement {
  static override properties: PropertyDeclarations = {
    action: { state: true },
    job: { state: true },
    isBusy: { state: true },
    failure: { state: true },
  }

  declare private action: Action
  declare private job: Target | null
  declare private isBusy: boolean
  declare private failure: string | null
  readonly #dialog = createRef<HTMLDialogElement>()
  /** The focused element and its ancestors: the button that opened the dialog may be gone when it closes. */
  #from: readonly Element[] = []

  constructor() {
    super()
    this.action = 'cancel'
    this.job = null
    this.isBusy = false
    this.failure = null
  }

  async ask(action: Action, job: Target): Promise<void> {
    this.action = action
    this.job = job
    this.isBusy = false
    this.failure = null
    this.#from = surroundingsOf(document.activeElement)
    await this.updateComplete
    this.#dialog.value?.showModal()
  }

  readonly #confirm = async (event: Event): Promise<void> => {
    event.preventDefault()
    const { job, action } = this
    if (job === null || this.isBusy) return
    this.isBusy = true
    this.failure = null
    try {
      await DO[action](job.id)
      this.#dialog.value?.close()
      announce(text(`${action}.done`, { name: isolated(job.name) }))
    } catch (error) {
      this.failure = text('dialog.failed', { detail: problemText(problemOf(error)) })
    } finally {
      this.isBusy = false
    }
  }

  readonly #closed = (): void => {
    if (isFocusLost()) focusNear(this.#from)
  }

  protected override render(): TemplateResult {
    return html`<dialog
      class="dialog"
      aria-labelledby="dialog-title"
      aria-describedby="dialog-text"
      @close=${this.#closed}
      ${ref(this.#dialog)}
    >
      ${this.job === null ? nothing : this.#content(this.action, this.job)}
    </dialog>`
  }

  #content(action: Action, job: Target): TemplateResult {
    return html`<form @submit=${this.#confirm}>
      <h2 id="dialog-title">${text(`${action}.title`)}</h2>
      <p id="dialog-text">${questionOf(action, job)}</p>
      <p class="failure" role="alert">${this.failure ?? ''}</p>
      <div class="buttons">
        <button type="button" class="button" @click=${() => this.#dialog.value?.close()} autofocus>
          ${text('dialog.keep')}
        </button>
        <button type="submit" class=${`button ${action === 'cancel' ? 'danger' : 'primary'}`} ?disabled=${this.isBusy}>
          ${text(`${action}.confirm`)}
        </button>
      </div>
    </form>`
  }
}

customElements.define('confirm-dialog', ConfirmDialog)

/** Opens the page's dialog for an action. */
export const confirmAction = (action: Action, job: Target): void => {
  void document.querySelector<ConfirmDialog>('confirm-dialog')?.ask(action, job)
}
