import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { LiveJob } from '../../contract/live-job.ts'
import { FINISHED_STATUSES } from '../../contract/states.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import { readFailures } from '../data/failures.ts'
import type { FailureGroup } from '../data/failure-groups.ts'
import { Followed } from '../data/followed.ts'
import { look, looksOf, seen, textOf } from '../data/last-look.ts'
import type { Looks } from '../data/last-look.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { ROOT } from '../root.ts'
import { storedText } from '../../browser-client/stored-text.ts'
import { clock, text } from '../words.ts'
import { announce } from './announcer.ts'
import { PageElement } from './element.ts'
import { failureList, groupsOf } from './failure-list.ts'
import { conditionIcon } from './icons.ts'

/** How often the time of the present look is stored. */
const STORE_MS = 10_000
const REST_MS = 5_000

interface Happened {
  completed: number
  failed: number
  cancelled: number
  groups: readonly FailureGroup[]
  /** Whether there are more failures than were read. */
  isCut: boolean
}

const readSince = async (sinceMs: number, signal: AbortSignal): Promise<Happened> => {
  const since = new Date(sinceMs).toISOString()
  const [{ types }, { jobs, isCut }] = await Promise.all([
    headway.api.stats({ since }, { signal }),
    readFailures({ topLevel: true, completedSince: since }, signal),
  ])
  const sum = (outcome: (typeof FINISHED_STATUSES)[number]) => types.reduce((total, type) => total + type[outcome], 0)
  return {
    completed: sum('completed'),
    failed: sum('failed'),
    cancelled: sum('cancelled'),
    groups: groupsOf(jobs),
    isCut,
  }
}

/** One line with what happened since the visitor last looked at the jobs in this browser. It unfolds into the failures. */
class SinceLastLook extends PageElement {
  readonly #stored = storedText(() => localStorage, `headway.looks ${ROOT.pathname}`)
  readonly #reading = new Followed(this, readSince, REST_MS)
  #looks: Looks | null = null
  #storedMs = -Infinity
  /** What is folded is not made. */
  #isOpen = false

  constructor() {
    super()
    new Live(this)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    this.#storedMs = -Infinity
    document.addEventListener('visibilitychange', this.#lookAgain)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    document.removeEventListener('visibilitychange', this.#lookAgain)
  }

  readonly #lookAgain = (): void => {
    this.#storedMs = -Infinity
    this.requestUpdate()
  }

  /** A look counts while the page is visible and shows jobs. Other tabs of the browser write to the same place. */
  #look(): void {
    const nowMs = headway.now()
    if (document.hidden || !headway.state().loaded || nowMs - this.#storedMs < STORE_MS) return
    this.#storedMs = nowMs
    this.#keep(look(looksOf(this.#stored.read()), nowMs))
  }

  #keep(looks: Looks): void {
    this.#looks = looks
    if (looks.sinceMs === null) this.#isOpen = false
    this.#stored.write(textOf(looks))
    if (looks.sinceMs === null) this.#reading.rest()
    else this.#reading.ask(looks.sinceMs)
  }

  readonly #markAsSeen = (): void => {
    this.#keep(seen(headway.now()))
    announce(text('since.seen'))
    this.requestUpdate()
  }

  protected override willUpdate(): void {
    this.#look()
  }

  /** Where nothing has happened there is nothing to see, and what happens from now on happens before the visitor's eyes. */
  protected override updated(): void {
    const { value, isOld } = this.#reading
    if (this.#looks?.sinceMs == null || value === null || isOld) return
    if (value.completed + value.failed + value.cancelled === 0) this.#keep(seen(headway.now()))
  }

  protected override render(): TemplateResult | typeof nothing {
    const sinceMs = this.#looks?.sinceMs ?? null
    const { value, isOld } = this.#reading
    if (sinceMs === null || value === null || isOld) return nothing
    const nowMs = shownNow()
    // The first condition is cheap, and there may be thousands of jobs.
    const stalled = headway
      .jobs()
      .filter(job => job.liveness === 'stalled' && ['stalled', 'partly_stalled'].includes(conditionOf(job, nowMs)))
    const counts = {
      completed: value.completed,
      failed: value.failed,
      cancelled: value.cancelled,
      stalled: stalled.length,
    }
    const parts = (['completed', 'failed', 'cancelled', 'stalled'] as const).flatMap(name =>
      counts[name] === 0 ? [] : [text(`since.${name}`, { count: counts[name] })],
    )
    if (parts.length === 0) return nothing
    const what = parts.join(', ')
    return html`<section class="card since" aria-label=${text('since.label')}>
      <details
        @toggle=${(event: Event) => {
          this.#isOpen = (event.currentTarget as HTMLDetailsElement).open
          this.requestUpdate()
        }}
      >
        <summary>${text('since.line', { time: clock(sinceMs, nowMs), what })}</summary>
        ${this.#isOpen ? this.#details(value, stalled, sinceMs, nowMs) : nothing}
      </details>
      <button type="button" class="button" @click=${this.#markAsSeen}>${text('since.mark')}</button>
    </section>`
  }

  #details({ groups, isCut }: Happened, stalled: readonly LiveJob[], sinceMs: number, nowMs: number): TemplateResult {
    const filters = { from: new Date(sinceMs).toISOString() }
    return html`${
        groups.length === 0
          ? nothing
          : html`<h2>${text('failures.title')}</h2>
              ${failureList(groups, { nowMs, isCut, filters: new URLSearchParams(filters).toString() })}`
      }
      ${
        stalled.length === 0
          ? nothing
          : html`<h2>${text('since.stalled.title')}</h2>
              <ul class="group-jobs">
                ${stalled.map(
                  job =>
                    html`<li>
                      ${conditionIcon(conditionOf(job, nowMs))}
                      <a href=${ADDRESS.job(job.id)} dir="auto">${job.name}</a>
                    </li>`,
                )}
              </ul>`
      }
      <p><a href=${ADDRESS.history(filters)}>${text('since.all')}</a></p>`
  }
}

customElements.define('since-last-look', SinceLastLook)
