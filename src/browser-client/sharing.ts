import type { Problem } from './connection.ts'
import type { JobUpdate } from './job-store.ts'
import type { ConnectionState } from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'

/**
 * Messages between the leader, which is the tab with the connection, and the other tabs. They contain no tokens: each tab has
 * its own.
 */
export type TabMessage =
  /** Asks the leader for everything. */
  | { kind: 'hello'; from: string }
  | { kind: 'ping'; from: string }
  | { kind: 'wake'; from: string }
  | { kind: 'pong'; from: string }
  | {
      kind: 'all'
      from: string
      to: string | null
      jobs: readonly LiveJob[]
      truncated: boolean
      lastEventId: string | null
      /** By how many milliseconds the service's clock is ahead of the clock of this machine. */
      aheadMs: number
    }
  | { kind: 'changes'; from: string; changes: readonly JobUpdate[]; lastEventId: string }
  | { kind: 'state'; from: string; connection: ConnectionState; problem: Problem }

/** The part of BroadcastChannel that is used. */
export interface TabChannel {
  onmessage: ((event: { data: unknown }) => void) | null
  postMessage(message: unknown): void
  close(): void
}

/** The part of LockManager that is used. */
export interface TabLocks {
  request(name: string, options: { signal?: AbortSignal; steal?: boolean }, hold: () => Promise<void>): Promise<unknown>
}

export interface SharingOptions {
  /** The name of what is shared. Tabs with another name share nothing with this one. */
  name: string
  tab: string
  locks: TabLocks
  channel: TabChannel
  /** This tab is the leader from now on, and must connect. */
  onLead: () => void
  /** Another tab has become the leader because this one did not answer: this tab must disconnect. */
  onDeposed: () => void
  /** A tab that is not the leader has received a message. */
  onMessage: (message: Extract<TabMessage, { kind: 'all' | 'changes' | 'state' }>) => void
  /** The tab with this id asks the leader for everything. */
  onHello: (tab: string) => void
  /** Another tab has pinged the leader; `wake`: it wants a connection at once. */
  onNudge: (wake: boolean) => void
  /** The browser grants no locks here, as in a frame without an origin: this tab connects for itself. */
  onAlone: () => void
  /** Whether this tab is visible. */
  isVisible: () => boolean
  pingMs?: number
}

/** How often a visible tab checks that the leader answers. */
const PING_MS = 2_000
/** After so many pings without an answer, the leader counts as hanging. */
const MISSED_PINGS = 2
const QUEUE_AGAIN_MS = 100

/**
 * Elects one leader among the tabs of an origin. The browser grants a lock to one of them, and to the next one as soon as that
 * tab is closed or crashes. A tab that hangs keeps its lock; a visible tab then takes the lock away.
 */
export class Sharing {
  readonly #options: SharingOptions
  readonly #closed = new AbortController()
  /** Releases the lock; null: another tab has it. */
  #release: (() => void) | null = null
  #stealing = false
  #timer: ReturnType<typeof setInterval> | undefined
  #missedPings = 0

  constructor(options: SharingOptions) {
    this.#options = options
  }

  get isLeader(): boolean {
    return this.#release !== null
  }

  start(): void {
    const { channel, pingMs = PING_MS } = this.#options
    channel.onmessage = ({ data }) => this.#hear(data as TabMessage)
    this.hello()
    this.#timer = setInterval(() => this.#watch(), pingMs)
    void this.#stand(false)
  }

  post(message: TabMessage): void {
    if (!this.#closed.signal.aborted) this.#options.channel.postMessage(message)
  }

  /** Asks the leader for everything: at the start, and when this tab may have missed something. */
  hello(): void {
    this.post({ kind: 'hello', from: this.#options.tab })
  }

  /** Takes the lock away from the leader. */
  takeOver(): void {
    if (this.isLeader || this.#stealing) return
    this.#stealing = true
    void this.#stand(true)
  }

  /** Asks the leader to connect at once. */
  wake(): void {
    this.post({ kind: 'wake', from: this.#options.tab })
  }

  /** Gives up the lock, and receives no more messages. */
  close(): void {
    clearInterval(this.#timer)
    this.#closed.abort()
    this.#options.channel.onmessage = null
    this.#options.channel.close()
    this.#release?.()
    this.#release = null
  }

  /** Waits for the lock, and holds it until this is closed or the lock is stolen; then waits for it again. */
  async #stand(steal: boolean): Promise<void> {
    const { locks, name, onLead, onDeposed, onAlone } = this.#options
    const { signal } = this.#closed
    const lock: { release: (() => void) | null } = { release: null }
    try {
      // A stolen lock is granted at once, so it needs no signal.
      await locks.request(name, steal ? { steal } : { signal }, async () => {
        this.#stealing = false
        if (signal.aborted) return
        await new Promise<void>(resolve => {
          lock.release = resolve
          this.#release = resolve
          onLead()
        })
      })
    } catch {
      // Aborted by `close`, or stolen.
    }
    if (steal) this.#stealing = false
    if (signal.aborted) return
    if (lock.release === null) {
      if (!steal) onAlone()
      return
    }
    // Another tab has taken the lock away.
    if (this.#release === lock.release) {
      this.#release = null
      this.#missedPings = 0
      onDeposed()
    }
    // A tab that stole the lock is still in the queue for it.
    if (!steal) setTimeout(() => !signal.aborted && void this.#stand(false), QUEUE_AGAIN_MS)
  }

  #hear(message: TabMessage): void {
    const { onHello, onNudge, onMessage, tab } = this.#options
    if (this.isLeader) {
      if (message.kind === 'hello') onHello(message.from)
      else if (message.kind === 'wake') onNudge(true)
      else if (message.kind === 'ping') {
        onNudge(false)
        this.post({ kind: 'pong', from: tab })
      }
      return
    }
    if (message.kind === 'hello' || message.kind === 'ping' || message.kind === 'wake') return
    this.#missedPings = 0
    if (message.kind === 'pong') return
    if (message.kind === 'all' && message.to !== null && message.to !== tab) return
    onMessage(message)
  }

  /** Pings the leader if this tab is visible, and takes over if the leader does not answer. */
  #watch(): void {
    const { isVisible, tab } = this.#options
    if (this.isLeader || !isVisible()) {
      this.#missedPings = 0
      return
    }
    if (this.#missedPings >= MISSED_PINGS) {
      this.#missedPings = 0
      this.takeOver()
      return
    }
    this.#missedPings += 1
    this.post({ kind: 'ping', from: tab })
  }
}
