import { LitElement } from 'lit'
import type { PropertyDeclarations } from 'lit'
import { HeadwayProblem } from '../client/problem.ts'
import type { Headway, LiveJob, TokenSource } from '../client/types.ts'
import { progressLanguage } from '../messages/progress.ts'
import type { ProgressLanguage } from '../messages/progress.ts'
import { isFinished } from '../client/documents.ts'
import { replaceCallback } from './connections.ts'
import type { Source } from './connections.ts'

const SECOND_MS = 1_000

/** The service that this file came from; the page's own origin where a bundler has put it into another file. */
const originOfFile = (): string => {
  const { protocol, pathname, origin } = new URL(import.meta.url)
  return protocol.startsWith('http') && pathname === '/elements.js' ? origin : location.origin
}

/** What the elements have in common: where the service is, who asks, and the language. */
export abstract class HeadwayElement extends LitElement {
  static override properties: PropertyDeclarations = {
    url: {},
    token: { noAccessor: true },
  }

  /** The address of the service; by default the one that this file came from. */
  declare url: string | undefined

  #token: TokenSource | undefined
  /** What it was connected with: a function that follows another one takes its place there. */
  #connectedWith: TokenSource | undefined
  #ticking: ReturnType<typeof setInterval> | undefined

  /** A token, or, as a property, a function that gives one: it is asked again when a token has expired. */
  get token(): TokenSource | undefined {
    return this.#token
  }

  set token(token: TokenSource | undefined) {
    const before = this.#token
    this.#token = token
    if (typeof this.#connectedWith === 'function' && typeof token === 'function') {
      replaceCallback(this.#connectedWith, token)
      return
    }
    this.#connectedWith = token
    this.requestUpdate('token', before)
  }

  protected get source(): Source {
    const { url } = this
    const token = this.#connectedWith === '' ? undefined : this.#connectedWith
    return { url: url === undefined || url === '' ? originOfFile() : url, token }
  }

  protected get language(): ProgressLanguage {
    const own = this.closest('[lang]')?.getAttribute('lang')
    return progressLanguage(own ? [own, ...navigator.languages] : navigator.languages)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.tickWhile(false)
  }

  /** Renders every second while that is so: what is left counts down between two reports as well. */
  protected tickWhile(needed: boolean): void {
    if (!needed) {
      clearInterval(this.#ticking)
      this.#ticking = undefined
    } else {
      this.#ticking ??= setInterval(() => {
        if (document.visibilityState === 'visible') this.requestUpdate()
      }, SECOND_MS)
    }
  }
}

/** The seconds that are left now; null where nobody knows. */
export const secondsLeft = (job: LiveJob, client: Headway): number | null => {
  if (job.etaSeconds === null || isFinished(job)) return null
  return Math.max(0, job.etaSeconds - Math.max(0, client.now() - Date.parse(job.updatedAt)) / 1000)
}

const ERROR_KEYS = {
  job_not_found: 'progress.errors.notFound',
  not_cancellable: 'progress.errors.cannotCancel',
  already_finished: 'progress.errors.alreadyFinished',
} as const

/** Why something did not work, in the visitor's language where there are words for it. */
export const errorText = (language: ProgressLanguage, error: unknown): string => {
  const code = error instanceof HeadwayProblem ? error.code : ''
  if (code in ERROR_KEYS) return language.text(ERROR_KEYS[code as keyof typeof ERROR_KEYS])
  const detail = error instanceof Error ? error.message : String(error)
  return language.text('progress.errors.other', { detail })
}
