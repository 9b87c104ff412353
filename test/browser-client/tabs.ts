import type { Test } from 'tap'
import type { Surroundings } from '../../src/browser-client/browser.ts'
import { createClientWith } from '../../src/browser-client/client.ts'
import type { ClientParts } from '../../src/browser-client/client.ts'
import type { TabChannel, TabLocks } from '../../src/browser-client/sharing.ts'
import type { HeadwayClient, HeadwayClientOptions, HeadwayState } from '../../src/browser-client/types.ts'

interface Claim {
  hold: () => Promise<void>
  settle: (error?: Error) => void
}

/** The locks of one origin, as https://w3c.github.io/web-locks/ has them: one holder, a queue, and theft. */
class Locks {
  readonly #held = new Map<string, Claim>()
  readonly #queues = new Map<string, Claim[]>()

  /** The locks of one tab. They are released when the tab ends. */
  ofTab(): TabLocks & { crash(): void } {
    const own = new Set<Claim>()
    const crashed = new Error('crashed')
    return {
      request: (name, { signal, steal = false }, hold) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) {
            reject(new Error('aborted'))
            return
          }
          const claim: Claim = {
            hold,
            settle: error => {
              own.delete(claim)
              if (error) reject(error)
              else resolve(undefined)
            },
          }
          own.add(claim)
          const queue = this.#queueOf(name)
          if (steal) {
            this.#held.get(name)?.settle(new Error('stolen'))
            this.#held.delete(name)
            queue.unshift(claim)
          } else queue.push(claim)
          signal?.addEventListener('abort', () => {
            const place = queue.indexOf(claim)
            if (place < 0) return
            queue.splice(place, 1)
            claim.settle(new Error('aborted'))
          })
          this.#grant(name)
        }),
      crash: () => {
        for (const [name, queue] of this.#queues) {
          this.#queues.set(
            name,
            queue.splice(0).filter(claim => !own.has(claim)),
          )
          const holder = this.#held.get(name)
          if (!holder || !own.has(holder)) continue
          this.#held.delete(name)
          holder.settle(crashed)
          this.#grant(name)
        }
      },
    }
  }

  #queueOf(name: string): Claim[] {
    const queue = this.#queues.get(name) ?? []
    this.#queues.set(name, queue)
    return queue
  }

  #grant(name: string): void {
    if (this.#held.has(name)) return
    const claim = this.#queueOf(name).shift()
    if (!claim) return
    this.#held.set(name, claim)
    queueMicrotask(() => {
      void claim.hold().then(() => {
        if (this.#held.get(name) !== claim) return
        this.#held.delete(name)
        claim.settle()
        this.#grant(name)
      })
    })
  }
}

/** The operations of a test on one tab. */
export interface OpenTab extends HeadwayClient {
  /** How many streams it has asked for. */
  readonly streams: number
  visible: boolean
  /** As if it hung: it neither receives nor sends anything, and keeps its locks. */
  hang(): void
  /** As the browser stops a page that it keeps, and lets it run again. */
  stop(): void
  resume(): void
  /** As if its process were gone. */
  crash(): void
}

/** A browser with one origin: its tabs share locks, channels and storage. */
export class Browser {
  readonly #locks = new Locks()
  readonly #channels = new Map<string, Set<TabChannel>>()
  readonly #storageListeners = new Set<{ tab: object; listener: (key: string | null) => void }>()
  /** As in a frame without an origin. */
  forbidsLocks = false
  readonly stored = new Map<string, string>()
  /** All that was ever said on a channel, as JSON. */
  readonly said: string[] = []

  open(t: Test, options: HeadwayClientOptions, timing: ClientParts['timing'] = {}, isOfElement = false): OpenTab {
    const locks = this.#locks.ofTab()
    const nothing = (): void => undefined
    const own = { streams: 0, visible: true, frozen: false, stop: nothing, resume: nothing }
    const gone = new AbortController()
    const surroundings: Surroundings = {
      fetch: async (input, init) => {
        if (typeof input === 'string' && input.includes('/stream')) own.streams++
        const signal = init?.signal ? AbortSignal.any([init.signal, gone.signal]) : gone.signal
        return fetch(input, { ...init, signal })
      },
      locks: this.forbidsLocks ? { request: () => Promise.reject(new Error('SecurityError')) } : locks,
      openChannel: name => this.#openChannel(name, () => own.frozen),
      storage: this.#storageOf(own) as Storage,
      isVisible: () => own.visible,
      onReturn: listener => {
        own.resume = () => {
          own.frozen = false
          listener('visible')
        }
        return () => undefined
      },
      onStop: listener => {
        own.stop = () => {
          listener()
          own.frozen = true
        }
        return () => undefined
      },
      onStored: listener => {
        const entry = { tab: own, listener }
        this.#storageListeners.add(entry)
        return () => this.#storageListeners.delete(entry)
      },
      origin: () => null,
    }
    const client = createClientWith(options, {
      isOfElement,
      surroundings,
      timing: { graceMs: 50, pingMs: 50, ...timing },
    })
    t.teardown(() => client.close())
    return Object.defineProperties(client as OpenTab, {
      streams: { get: () => own.streams },
      visible: { get: () => own.visible, set: (visible: boolean) => (own.visible = visible) },
      hang: { value: () => (own.frozen = true) },
      stop: { value: () => own.stop() },
      resume: { value: () => own.resume() },
      crash: {
        value: () => {
          own.frozen = true
          gone.abort()
          locks.crash()
        },
      },
    })
  }

  #openChannel(name: string, isFrozen: () => boolean): TabChannel {
    const members = this.#channels.get(name) ?? new Set()
    this.#channels.set(name, members)
    const channel: TabChannel = {
      onmessage: null,
      postMessage: message => {
        if (isFrozen()) return
        const data: unknown = structuredClone(message)
        this.said.push(JSON.stringify(data))
        setImmediate(() => {
          for (const member of members) if (member !== channel) member.onmessage?.({ data })
        })
      },
      close: () => void members.delete(channel),
    }
    const listening: TabChannel = {
      ...channel,
      get onmessage() {
        return channel.onmessage
      },
      set onmessage(listener) {
        channel.onmessage =
          listener &&
          (event => {
            if (!isFrozen()) listener(event)
          })
      },
    }
    members.add(channel)
    return listening
  }

  #storageOf(tab: object): Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> {
    const tell = (key: string) => {
      for (const entry of this.#storageListeners) if (entry.tab !== tab) setImmediate(() => entry.listener(key))
    }
    return {
      getItem: key => this.stored.get(key) ?? null,
      setItem: (key, value) => {
        this.stored.set(key, value)
        tell(key)
      },
      removeItem: key => {
        this.stored.delete(key)
        tell(key)
      },
    }
  }
}

/** Resolves once a client is in such a state. */
export const until = (client: HeadwayClient, isSo: (state: HeadwayState) => boolean): Promise<HeadwayState> =>
  new Promise(resolve => {
    const look = () => {
      if (!isSo(client.state())) return
      stop()
      resolve(client.state())
    }
    const stop = client.subscribe(look)
    look()
  })
