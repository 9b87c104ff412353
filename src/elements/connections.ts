import { createHeadway } from '../client/client.ts'
import type { Headway, JobFilter, TokenSource } from '../client/types.ts'
import { dispatchProgressEvents } from './window-events.ts'

/** Frameworks take elements out and put them in again: a connection outlives its last element by so much. */
const LINGER_MS = 1_000
/** As many as one stream takes. */
const MAX_JOBS = 100

export interface Source {
  url: string
  token: TokenSource | undefined
}

/** What an element holds while it is in a page. */
export interface Following {
  readonly client: Headway
  stop(): void
}

interface Shared {
  client: Headway
  users: number
  close: () => void
  lingering: ReturnType<typeof setTimeout> | undefined
}

type TokenCallback = Extract<TokenSource, (...args: never) => unknown>

/** Numbers for token callbacks, so that the same one is the same part of a key. */
const callbacks = new WeakMap<TokenCallback, number>()
let callbackCount = 0

const successors = new WeakMap<TokenCallback, TokenCallback>()

/** Who asked `before` asks `next` from now on. Frameworks make a new function with each render, which is no new connection. */
export const replaceCallback = (before: TokenCallback, next: TokenCallback): void => void successors.set(before, next)

const keyOf = ({ url, token }: Source): string => {
  if (typeof token !== 'function') return JSON.stringify([url, token ?? null])
  const number = callbacks.get(token) ?? ++callbackCount
  callbacks.set(token, number)
  return JSON.stringify([url, number])
}

const open = ({ url, token }: Source, filter: JobFilter): Pick<Shared, 'client' | 'close'> => {
  const source = typeof token === 'function' ? () => (successors.get(token) ?? token)() : token
  const client = createHeadway({ url, filter, ...(source !== undefined && { token: source }) })
  const stop = dispatchProgressEvents(client)
  return {
    client,
    close: () => {
      stop()
      client.close()
    },
  }
}

const lists = new Map<string, Shared>()

/** One client for all elements of a page that show the same list. */
export const followList = (source: Source, filter: JobFilter): Following => {
  const key = `${keyOf(source)} ${JSON.stringify(filter)}`
  const shared = lists.get(key) ?? { ...open(source, filter), users: 0, lingering: undefined }
  lists.set(key, shared)
  clearTimeout(shared.lingering)
  shared.users += 1
  let stopped = false
  return {
    client: shared.client,
    stop: () => {
      if (stopped) return
      stopped = true
      shared.users -= 1
      if (shared.users > 0) return
      shared.lingering = setTimeout(() => {
        lists.delete(key)
        shared.close()
      }, LINGER_MS)
    },
  }
}

interface Watcher {
  jobId: string
  /** Another client has taken over. */
  onClient: (client: Headway) => void
}

/** All jobs that single elements of a page show, in one stream. It is opened anew, behind the present one, when they change. */
class JobGroup {
  readonly #source: Source
  readonly #watchers = new Set<Watcher>()
  #current: Pick<Shared, 'client' | 'close'> | null = null
  #next: Pick<Shared, 'client' | 'close'> | null = null
  #followed: readonly string[] = []
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(source: Source) {
    this.#source = source
  }

  add(watcher: Watcher): () => void {
    this.#watchers.add(watcher)
    if (this.#current && this.#followed.includes(watcher.jobId)) watcher.onClient(this.#current.client)
    this.#plan(0)
    return () => {
      if (this.#watchers.delete(watcher)) this.#plan(LINGER_MS)
    }
  }

  /** In a moment: a page adds its elements one after the other. */
  #plan(milliseconds: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#follow(), milliseconds)
  }

  #follow(): void {
    const ids = [...new Set([...this.#watchers].map(({ jobId }) => jobId))].sort()
    if (ids.join() === this.#followed.join()) return
    this.#followed = ids
    this.#next?.close()
    this.#next = null
    if (ids.length === 0) {
      this.#current?.close()
      this.#current = null
      return
    }
    const next = open(this.#source, ids.length > MAX_JOBS ? {} : { jobId: ids })
    if (!this.#current) {
      this.#take(next)
      return
    }
    // What is shown stays until the next one has something to show.
    this.#next = next
    const stop = next.client.subscribe(() => {
      if (this.#next !== next || !next.client.state().loaded) return
      stop()
      this.#next = null
      this.#take(next)
    })
  }

  #take(next: Pick<Shared, 'client' | 'close'>): void {
    const before = this.#current
    this.#current = next
    for (const { onClient } of [...this.#watchers]) onClient(next.client)
    before?.close()
  }
}

const groups = new Map<string, JobGroup>()

/** Follows one job together with all others that single elements of the page show. */
export const followJob = (source: Source, watcher: Watcher): (() => void) => {
  const key = keyOf(source)
  const group = groups.get(key) ?? new JobGroup(source)
  groups.set(key, group)
  return group.add(watcher)
}
