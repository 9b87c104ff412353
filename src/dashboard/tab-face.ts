import type { JobStatus } from '../contract/states.ts'
import { isFinished } from '../contract/states.ts'
import { attentionCount } from './data/attention.ts'
import { headway, shownNow } from './feed.ts'
import { tabIcon } from './tab-icon.ts'
import { number, percent } from './words.ts'

interface TabJob {
  id: string
  name: string
  status: JobStatus
  progressPercent: number
  revision: number
}

type Page = { kind: 'job'; job: TabJob } | { kind: 'list'; title: string } | { kind: 'other'; title: string }

const SECOND_MS = 1_000

/**
 * What the tab of this page shows: the title and the icon. They are read while the tab is hidden, when the page itself renders
 * nothing, so they follow the stream and not the frames.
 */
class TabFace {
  readonly #link = document.querySelector<HTMLLinkElement>('link[rel=icon]')
  readonly #plain = this.#link?.href ?? ''
  #page: Page = { kind: 'other', title: '' }
  #countedMs = -Infinity
  #count = 0

  constructor() {
    headway.subscribe(() => this.#look())
    setInterval(() => this.#look(), SECOND_MS)
  }

  /** The tab belongs to a job: its percent, or how it ended. */
  showJob(job: TabJob): void {
    this.#page = { kind: 'job', job }
    this.#look()
  }

  /** The tab belongs to the list of jobs: how many of them need attention. */
  showList(title: string): void {
    this.#page = { kind: 'list', title }
    this.#look()
  }

  /** The tab belongs to any other page. */
  showPage(title: string): void {
    this.#page = { kind: 'other', title }
    this.#look()
  }

  #look(): void {
    const page = this.#page
    if (page.kind === 'job') this.#showJob(page.job)
    else if (page.kind === 'list') {
      const count = this.#attention()
      this.#show(`${count === 0 ? '' : `(${number(count)}) `}${page.title} · Headway`, this.#plain)
    } else if (page.title !== '') this.#show(`${page.title} · Headway`, this.#plain)
  }

  #showJob(known: TabJob): void {
    const live = headway.job(known.id)
    const job = live !== undefined && live.revision > known.revision ? live : known
    // Kept, because the stream forgets a job a minute after its end.
    this.#page = { kind: 'job', job }
    const title = isFinished(job)
      ? `${job.name} · Headway ${job.status === 'completed' ? '✓' : '✕'}`
      : `${percent(job.progressPercent)} · ${job.name} · Headway`
    this.#show(title, tabIcon(job))
  }

  /** Counted at most once a second, because thousands of jobs may change twice a second. */
  #attention(): number {
    const nowMs = performance.now()
    if (nowMs - this.#countedMs >= SECOND_MS) {
      this.#countedMs = nowMs
      this.#count = attentionCount(headway.jobs(), shownNow())
    }
    return this.#count
  }

  #show(title: string, icon: string): void {
    if (document.title !== title) document.title = title
    if (this.#link !== null && this.#link.href !== icon) this.#link.href = icon
  }
}

/** The tab of this page. */
export const tabFace = new TabFace()
