import { createClientWith } from './client.ts'
import { identityOf } from './tokens.ts'
import type { HeadwayClient, HeadwayClientOptions, TokenSource } from './types.ts'

/** Frameworks take parts of a page out and put them in again: a client outlives its last user by so much. */
export const LINGER_MS = 1_000
/** So long a callback need not be asked again for whom it speaks: components are mounted twice, elements are moved. */
const IDENTIFIED_MS = 5_000

type TokenCallback = Extract<TokenSource, (...args: never) => unknown>
type Token = string | null | undefined

/** What was given for a callback, and when. */
const asked = new WeakMap<TokenCallback, { token: Promise<Token>; atMs: number }>()
/** Stand for callbacks that fail: nobody knows whom they speak for. */
let failures = 0

const ask = (callback: TokenCallback): Promise<Token> => {
  const before = asked.get(callback)
  if (before && Date.now() - before.atMs < IDENTIFIED_MS) return before.token
  const token = Promise.resolve().then(callback)
  asked.set(callback, { token, atMs: Date.now() })
  return token
}

/** Calls once with whom a token speaks for; at once where nobody has to be asked. Answers how to prevent it. */
export const whenIdentified = (token: TokenSource | undefined, use: (identity: string) => void): (() => void) => {
  if (typeof token !== 'function') {
    use(identityOf(token === undefined || token === '' ? null : token))
    return () => undefined
  }
  let wanted = true
  const identify = (identity: string) => {
    if (wanted) use(identity)
  }
  ask(token).then(
    given => identify(identityOf(given === undefined || given === '' ? null : given)),
    () => identify(`unknown ${++failures}`),
  )
  return () => (wanted = false)
}

/** What gives tokens of one identity: whoever came last is asked, since the others may be gone. */
export class Sources {
  readonly #all = new Set<{ token: TokenSource | undefined }>()
  #latest: TokenSource | undefined
  /** Undefined: nobody has a token. */
  readonly source: TokenCallback = () => {
    const last = this.#latest
    if (typeof last !== 'function') return last
    const given = asked.get(last)
    asked.delete(last)
    return given && Date.now() - given.atMs < IDENTIFIED_MS ? given.token : last()
  }

  get isEmpty(): boolean {
    return this.#all.size === 0
  }

  add(token: TokenSource | undefined): () => void {
    const entry = { token }
    this.#all.add(entry)
    this.#latest = token
    return () => {
      this.#all.delete(entry)
      // The last one of all is kept, for whoever comes back soon.
      if (!this.isEmpty) this.#latest = [...this.#all].at(-1)?.token
    }
  }
}

interface Shared {
  client: HeadwayClient | null
  sources: Sources
  lingering: ReturnType<typeof setTimeout> | undefined
}

const clients = new Map<string, Shared>()

/** A token that has just come may be better than the one that was refused. */
export const tryAgain = (client: HeadwayClient): void => {
  if (client.connection === 'unauthorized') client.reconnect()
}

/**
 * A client for one part of a page: all parts that follow the same, with tokens of the same user, have one together. Where pages have
 * no Web Locks each client has a connection of its own, and browsers open no more than six. Answers how to give it back.
 */
export const followTogether = (
  options: Pick<HeadwayClientOptions, 'url' | 'token' | 'filter'>,
  onClient: (client: HeadwayClient) => void,
): (() => void) => {
  let stop = (): void => undefined
  const forget = whenIdentified(options.token, identity => {
    const key = JSON.stringify([options.url ?? null, identity, options.filter ?? null])
    const shared: Shared = clients.get(key) ?? { client: null, sources: new Sources(), lingering: undefined }
    clients.set(key, shared)
    clearTimeout(shared.lingering)
    const leave = shared.sources.add(options.token)
    const client = (shared.client ??= createClientWith(
      { ...options, token: shared.sources.source },
      { isOfElement: true },
    ))
    tryAgain(client)
    stop = () => {
      leave()
      if (!shared.sources.isEmpty) return
      shared.lingering = setTimeout(() => {
        clients.delete(key)
        client.close()
      }, LINGER_MS)
    }
    onClient(client)
  })
  return () => {
    forget()
    stop()
    stop = () => undefined
  }
}
