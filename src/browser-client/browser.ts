import type { TabChannel, TabLocks } from './sharing.ts'

/** What a client takes from the page that it runs in. Parts that a browser lacks are null, and what needs them is left out. */
export interface Surroundings {
  fetch: typeof fetch
  locks: TabLocks | null
  openChannel: ((name: string) => TabChannel) | null
  storage: Storage | null
  isVisible: () => boolean
  /** Calls when the network is back, or the page is looked at or runs again. Answers how to stop it. */
  onReturn: (listener: (reason: 'online' | 'visible') => void) => () => void
  /** Calls when the browser is about to stop the page without closing it. */
  onStop: (listener: () => void) => () => void
  /** Calls when another tab has written to `storage`; null: it was cleared. */
  onStored: (listener: (key: string | null) => void) => () => void
  origin: () => string | null
}

/** Where a browser forbids storage, even naming it throws. */
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

/** Of the page that this runs in; a worker or Node has less. */
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
        // It goes into the cache for pages that one may go back to.
        listen(target, 'pagehide', event => (event as PageTransitionEvent).persisted && listener()),
      ]
      return () => stops.forEach(stop => stop())
    },
    onStored: listener => listen(target, 'storage', event => listener((event as StorageEvent).key)),
    origin: () => page.location?.origin ?? null,
  }
}
