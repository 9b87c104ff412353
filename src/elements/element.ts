import { LitElement } from 'lit'
import type { PropertyDeclarations, PropertyValues } from 'lit'
import { HeadwayProblem } from '../browser-client/problem.ts'
import { isFinished } from '../contract/states.ts'
import { isArriving, ShownClock } from '../browser-client/shown-clock.ts'
import type { HeadwayClient, TokenSource } from '../browser-client/types.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { progressLanguage } from '../messages/progress.ts'
import type { ProgressLanguage } from '../messages/progress.ts'
import type { Source } from './connections.ts'

const SECOND_MS = 1_000

/** The service that this file was loaded from; the page's own origin if a bundler has put it into another file. */
const originOfFile = (): string => {
  const { protocol, pathname, origin } = new URL(import.meta.url)
  return protocol.startsWith('http') && pathname === '/elements.js' ? origin : location.origin
}

/** The language of the nearest ancestor that has a `lang`, also across shadow roots. */
const langAround = (start: Element): string | null => {
  for (let at: Node | null = start; at; at = at instanceof ShadowRoot ? at.host : at.parentNode) {
    const lang = at instanceof Element ? at.getAttribute('lang') : null
    if (lang !== null) return lang
  }
  return null
}

/** What the elements have in common: the service's address, the token and the language. */
export abstract class HeadwayElement extends LitElement {
  static override properties: PropertyDeclarations = {
    url: {},
    token: { noAccessor: true },
  }

  /** The address of the service; by default the one that this file was loaded from. */
  declare url: string | undefined

  #token: TokenSource | undefined
  /**
   * Stands for all token functions of the page: frameworks make a new one with each render, and that must not open a new
   * connection.
   */
  readonly #ask = (): ReturnType<Extract<TokenSource, (...args: never) => unknown>> =>
    typeof this.#token === 'function' ? this.#token() : this.#token
  readonly #clock = new ShownClock()
  #unfollow: (() => void) | null = null
  #ticking: ReturnType<typeof setInterval> | undefined

  /** A token, or, as a property, a function that gives one. It is called again when a token has expired. */
  get token(): TokenSource | undefined {
    return this.#token
  }

  set token(token: TokenSource | undefined) {
    const before = this.#token
    this.#token = token
    if (typeof before !== 'function' || typeof token !== 'function') this.requestUpdate('token', before)
  }

  protected get source(): Source {
    const { url } = this
    const token = typeof this.#token === 'function' ? this.#ask : this.#token || undefined
    return { url: url || originOfFile(), token }
  }

  /**
   * The time, by the service's clock, at which the shown job was up to date. For an element that was added while the connection
   * was lost, it is the time of the job's last change.
   */
  protected shownMs(client: HeadwayClient, { updatedAt }: Pick<LiveJob, 'updatedAt'>): number {
    this.#clock.read(client.connection, client.now())
    return this.#clock.lastMs ?? Date.parse(updatedAt)
  }

  /** The client whose connection says whether the shown job is up to date; null: there is none. */
  protected abstract readonly client: HeadwayClient | null | undefined

  /**
   * A text for an unfinished job while the connection is lost: the time at which the job was up to date. Null: it is up to
   * date.
   */
  protected asOf(client: HeadwayClient, job: LiveJob): string | null {
    const shownMs = this.shownMs(client, job)
    if (isFinished(job) || isArriving(client.connection)) return null
    return this.language.text('progress.asOf', { time: this.language.hourAndMinute(shownMs) })
  }

  protected get language(): ProgressLanguage {
    const own = langAround(this)
    return progressLanguage(own ? [own, ...navigator.languages] : navigator.languages)
  }

  /**
   * Begins to follow the jobs that the properties in `followed` name. Answers a function that stops it; null: they name no job.
   */
  protected abstract follow(): (() => void) | null
  protected abstract readonly followed: readonly string[]

  override connectedCallback(): void {
    super.connectedCallback()
    // Before the first update, a page or a framework may still set the properties.
    if (this.hasUpdated) this.#follow()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#stop()
    this.tickWhile(false)
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!this.hasUpdated || ['url', 'token', ...this.followed].some(name => changed.has(name))) this.#follow()
  }

  #follow(): void {
    this.#stop()
    if (this.isConnected) this.#unfollow = this.follow()
  }

  #stop(): void {
    this.#unfollow?.()
    this.#unfollow = null
  }

  /** Renders every second while `needed`, because the time left counts down between two reports. */
  protected tickWhile(needed: boolean): void {
    if (!needed) {
      clearInterval(this.#ticking)
      this.#ticking = undefined
    } else {
      this.#ticking ??= setInterval(() => {
        const { client } = this
        // Also while the page is hidden: otherwise a connection that is lost meanwhile would seem lost since the page was last
        // visible.
        if (client) this.#clock.read(client.connection, client.now())
        if (document.visibilityState === 'visible') this.requestUpdate()
      }, SECOND_MS)
    }
  }
}

const ERROR_KEYS = {
  job_not_found: 'progress.errors.notFound',
  not_cancellable: 'progress.errors.cannotCancel',
  already_finished: 'progress.errors.alreadyFinished',
  unauthenticated: 'progress.errors.notAllowed',
  forbidden: 'progress.errors.notAllowed',
  unreachable: 'progress.errors.unreachable',
  overloaded: 'progress.errors.later',
  rate_limited: 'progress.errors.later',
  too_much_in_flight: 'progress.errors.later',
  too_many_streams: 'progress.errors.later',
  database_unavailable: 'progress.errors.later',
  internal_error: 'progress.errors.later',
  keys_unavailable: 'progress.errors.later',
  outcome_unknown: 'progress.errors.later',
  shutting_down: 'progress.errors.later',
} as const

/** Why something failed, in the visitor's language if there is a text for it. */
export const errorText = (language: ProgressLanguage, error: unknown): string => {
  const code = error instanceof HeadwayProblem ? error.code : ''
  if (Object.hasOwn(ERROR_KEYS, code)) return language.text(ERROR_KEYS[code as keyof typeof ERROR_KEYS])
  const detail = error instanceof Error ? error.message : String(error)
  return language.text('progress.errors.other', { detail })
}
