import { createClientWith } from './client.ts'
import { identityOf } from './tokens.ts'
import type { HeadwayClient, HeadwayClientOptions, TokenSource } from './types.ts'

/** How long a client is kept after its last user has left: frameworks remove parts of a page and insert them again. */
export const LINGER_MS = 1_000
/** How long the answer of a callback is reused: components are mounted twice, and elements are moved. */
const IDENTIFIED_MS = 5_000

type TokenCallback = Extract<TokenSource, (...args: never) => unknown>
type Token = string | null | undefined

/** The last answer of each callback, and when it was called. */
const asked = new WeakMap<TokenCallback, { token: Promise<Token>; atMs: number }>()
/** Counts callbacks that failed. Each gets an identity of its own, because its user is not known. */
let failures = 0

const ask = (callback: TokenCallback): Promise<Token> => {
  const before = asked.get(callback)
  if (before && Date.now() - before.atMs < IDENTIFIED_MS) return before.token
  const token = Promise.resolve().then(callback)
  asked.set(callback, { token, atMs: Date.now() })
  return token
}

/**
 * Calls `use` once with the identity of a token; at once if no callback has to be asked. Answers a function that prevents the
 * call.
 */
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

/** The token sources of one identity. The newest one is asked, because the parts of the page with the others may be gone. */
export class Sources {
  readonly #all = new Set<{ token: TokenSource | undefined }>()
  #latest: TokenSource | undefined
  /** Undefined: there is no token. */
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
      // The last source is kept for a part that comes back soon.
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

/** A new token may be valid where the earlier one was refused. */
export const tryAgain = (client: HeadwayClient): void => {
  if (client.connection === 'unauthorized') client.reconnect()
}

/**
 * Gives a part of a page a client. All parts with the same filter, and tokens of the same user, share one. Without Web Locks
 * each client has its own connection, and browsers open at most six. Answers a function that gives the client back.
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
