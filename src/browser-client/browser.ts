import type { TabChannel, TabLocks } from './sharing.ts'

/**
 * What a client needs from the page that it runs in. A part that the browser lacks is null, and the client works without it.
 */
export interface Surroundings {
  fetch: typeof fetch
  locks: TabLocks | null
  openChannel: ((name: string) => TabChannel) | null
  storage: Storage | null
  isVisible: () => boolean
  /** Calls `listener` when the network is back, or when the page is visible or runs again. Answers a function that stops it. */
  onReturn: (listener: (reason: 'online' | 'visible') => void) => () => void
  /** Calls `listener` when the browser is about to suspend the page without closing it. */
  onStop: (listener: () => void) => () => void
  /** Calls `listener` when another tab has written to `storage`; null: the storage was cleared. */
  onStored: (listener: (key: string | null) => void) => () => void
  origin: () => string | null
}

/** A browser that forbids storage throws when the property is read. */
const storageOf = (): Storage | null => {
  try {
    return globalThis.localStorage
  } catch {
    return null
  }
}

const listen = (target: EventTarget | undefined, type: string, listener: (event: Event) => void): (() => void) => {
  target?.addEventListener(type, listener)
  return () => target?.removeEventListener(type, listener)
}

/** The surroundings of the page that this runs in; a worker or Node has fewer parts. */
export const surroundingsOfPage = (): Surroundings => {
  const page = globalThis as Partial<Window & typeof globalThis>
  const { document } = page
  const target = page.window as EventTarget | undefined
  return {
    fetch: (...args) => globalThis.fetch(...args),
    locks: (page.navigator?.locks as TabLocks | undefined) ?? null,
    openChannel: page.BroadcastChannel ? name => new BroadcastChannel(name) as unknown as TabChannel : null,
    storage: document ? storageOf() : null,
    isVisible: () => document?.visibilityState !== 'hidden',
    onReturn: listener => {
      const stops = [
        listen(target, 'online', () => listener('online')),
        listen(document, 'visibilitychange', () => document?.visibilityState === 'visible' && listener('visible')),
        listen(target, 'pageshow', () => listener('visible')),
        listen(document, 'resume', () => listener('visible')),
      ]
      return () => stops.forEach(stop => stop())
    },
    onStop: listener => {
      const stops = [
        // https://developer.chrome.com/docs/web-platform/page-lifecycle-api
        listen(document, 'freeze', listener),
        // The browser puts the page into its back/forward cache.
        listen(target, 'pagehide', event => (event as PageTransitionEvent).persisted && listener()),
      ]
      return () => stops.forEach(stop => stop())
    },
    onStored: listener => listen(target, 'storage', event => listener((event as StorageEvent).key)),
    origin: () => page.location?.origin ?? null,
  }
}
