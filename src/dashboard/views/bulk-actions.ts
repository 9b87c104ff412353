import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { createRef, ref } from 'lit/directives/ref.js'
import type { ListedJob } from '../../contract/job.ts'
import { isFinished } from '../../contract/states.ts'
import { doForEach } from '../data/bulk.ts'
import type { BulkFailure } from '../data/bulk.ts'
import { problemOf } from '../data/reading.ts'
import { headway } from '../feed.ts'
import { focusNear, isFocusLost, surroundingsOf } from '../focus.ts'
import { mayDo } from '../session.ts'
import { number, text } from '../words.ts'
import { announce } from './announcer.ts'
import { actionsOf } from './dialogs.ts'
import { PageElement } from './element.ts'
import { problemText } from './problem-text.ts'

const BULK_ACTIONS = ['cancel', 'retry', 'erase'] as const
type BulkAction = (typeof BULK_ACTIONS)[number]

const ACT: Readonly<Record<BulkAction, (id: string) => Promise<unknown>>> = {
  cancel: id => headway.cancel(id),
  retry: id => headway.retry(id),
  erase: id => headway.api.purge(id),
}

/** Whether the state of a job and the token allow the action. A partition is only erased with its batch. */
const allows = (action: BulkAction, job: ListedJob): boolean =>
  action === 'erase' ? isFinished(job) && job.parentJobId === null && mayDo('manage') : actionsOf(job).includes(action)

/** What can be done with several jobs at once. It asks first, and tells for which jobs it did not work. */
class BulkActions extends PageElement {
  static override properties: PropertyDeclarations = {
    jobs: { attribute: false },
    action: { state: true },
    over: { state: true },
    isBusy: { state: true },
    failures: { state: true },
  }

  /** The chosen jobs. */
  declare jobs: readonly ListedJob[]
  /** Called when the action has been carried out, with the jobs for which it did not work; or with none to choose none. */
  declare onDone: ((left: readonly ListedJob[]) => void) | undefined
  declare private action: BulkAction
  declare private over: number
  declare private isBusy: boolean
  /** null: the action has not been carried out yet. */
  declare private failures: readonly BulkFailure<ListedJob>[] | null
  readonly #dialog = createRef<HTMLDialogElement>()
  /** The jobs of the open dialog: the chosen ones may change meanwhile. */
  #asked: readonly ListedJob[] = []
  #from: readonly Element[] = []

  constructor() {
    super()
    this.jobs = []
    this.action = 'cancel'
    this.over = 0
    this.isBusy = false
    this.failures = null
  }

  #ask(action: BulkAction): void {
    this.action = action
    this.#asked = this.jobs.filter(job => allows(action, job))
    this.over = 0
    this.failures = null
    this.#from = surroundingsOf(document.activeElement)
    void this.updateComplete.then(() => this.#dialog.value?.showModal())
  }

  readonly #confirm = async (event: Event): Promise<void> => {
    event.preventDefault()
    if (this.isBusy) return
    this.isBusy = true
    const [action, asked] = [this.action, this.#asked]
    const failures = await doForEach(asked, job => ACT[action](job.id), {
      problemOf,
      told: over => (this.over = over),
    })
    this.isBusy = false
    this.failures = failures
    announce(this.#outcome(failures.length))
    if (failures.length === 0) this.#dialog.value?.close()
    this.onDone?.(failures.map(({ item }) => item))
  }

  readonly #closed = (): void => {
    if (isFocusLost()) focusNear(this.#from)
  }

  #outcome(failed: number): string {
    const done = text(`bulk.${this.action}.done`, { count: this.#asked.length - failed })
    return failed === 0 ? done : `${done} ${text('bulk.failed', { count: failed })}`
  }

  protected override render(): TemplateResult {
    const { jobs, action } = this
    const allowed = (each: BulkAction) => jobs.filter(job => allows(each, job)).length
    return html`${
        jobs.length === 0
          ? nothing
          : html`<div class="bulk" role="group" aria-label=${text('bulk.label')}>
              <span>${text('bulk.chosen', { count: jobs.length })}</span>
              ${BULK_ACTIONS.filter(each => allowed(each) > 0).map(
                each =>
                  html`<button
                    type="button"
                    class=${`button ${each === 'retry' ? '' : 'danger-outline'}`}
                    @click=${() => this.#ask(each)}
                  >
                    ${text(`bulk.${each}`)} <span class="number">${number(allowed(each))}</span>
                  </button>`,
              )}
              <button type="button" class="link" @click=${() => this.onDone?.([])}>${text('bulk.none')}</button>
            </div>`
      }
      <dialog
        class="dialog"
        aria-labelledby="bulk-title"
        aria-describedby="bulk-text"
        @close=${this.#closed}
        ${ref(this.#dialog)}
      >
        <form @submit=${this.#confirm}>
          <h2 id="bulk-title">${text(`bulk.${action}.title`, { count: this.#asked.length })}</h2>
          <p id="bulk-text">${this.#said()}</p>
          ${this.#failures()}
          <div class="buttons">
            <button type="button" class="button" @click=${() => this.#dialog.value?.close()} autofocus>
              ${text(this.failures === null && !this.isBusy ? 'bulk.keep' : 'bulk.close')}
            </button>
            ${
              this.failures === null
                ? html`<button
                    type="submit"
                    class=${`button ${action === 'retry' ? 'primary' : 'danger'}`}
                    ?disabled=${this.isBusy}
                  >
                    ${text(`bulk.${action}`)}
                  </button>`
                : nothing
            }
          </div>
        </form>
      </dialog>`
  }

  #said(): string {
    if (this.failures !== null) return this.#outcome(this.failures.length)
    if (this.isBusy) return text('bulk.busy', { over: this.over, count: this.#asked.length })
    return text(`bulk.${this.action}.text`)
  }

  #failures(): TemplateResult | typeof nothing {
    if (this.failures === null || this.failures.length === 0) return nothing
    return html`<ul class="bulk-failures">
      ${this.failures.map(({ item, problem }) => html`<li><bdi>${item.name}</bdi>: ${problemText(problem)}</li>`)}
    </ul>`
  }
}

customElements.define('bulk-actions', BulkActions)
