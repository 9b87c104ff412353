import type { Problem } from './connection.ts'
import type { JobUpdate } from './job-store.ts'
import type { ConnectionState } from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'

/** What the tab with the connection tells the others, and they it. Never a token: each tab has its own. */
export type TabMessage =
  /** To the leader: tell me all. To everyone: is there a leader? */
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
      /** How far the clock of the service is ahead of that of this machine. */
      aheadMs: number
    }
  | { kind: 'changes'; from: string; changes: readonly JobUpdate[]; lastEventId: string }
  | { kind: 'state'; from: string; connection: ConnectionState; problem: Problem }

/** As BroadcastChannel has it. */
export interface TabChannel {
  onmessage: ((event: { data: unknown }) => void) | null
  postMessage(message: unknown): void
  close(): void
}

/** The part of LockManager that an election needs. */
export interface TabLocks {
  request(name: string, options: { signal?: AbortSignal; steal?: boolean }, hold: () => Promise<void>): Promise<unknown>
}

export interface SharingOptions {
  /** Names what is shared: tabs with another name have nothing to do with each other. */
  name: string
  tab: string
  locks: TabLocks
  channel: TabChannel
  /** This tab is the one that connects, from now on. */
  onLead: () => void
  /** Another tab has taken over, since this one did not answer: it must disconnect. */
  onDeposed: () => void
  /** A tab that does not lead hears something. */
  onMessage: (message: Extract<TabMessage, { kind: 'all' | 'changes' | 'state' }>) => void
  /** The leader is asked for everything, by that tab. */
  onHello: (tab: string) => void
  /** The leader is told that time has passed; `wake`: that somebody wants a connection now. */
  onNudge: (wake: boolean) => void
  /** The browser gives no locks here, as in a frame without an origin: this tab is on its own. */
  onAlone: () => void
  /** Whether somebody looks at this tab. */
  isVisible: () => boolean
  pingMs?: number
}

/** How often a tab that is looked at makes sure that the leader lives. */
const PING_MS = 2_000
/** Pings without an answer after which a leader counts as hanging. */
const MISSED_PINGS = 2
const QUEUE_AGAIN_MS = 100

/**
 * One leader among the tabs of an origin. The browser grants a lock to one of them, and to the next one as soon as that one is
 * closed or crashes. A tab that hangs keeps its lock; whoever looks at another tab then takes it away.
 */
export class Sharing {
  readonly #options: SharingOptions
  readonly #closed = new AbortController()
  /** Gives the lock back; null: another tab has it. */
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

  /** Asks the leader for all that it knows: at first, and when something may have been missed. */
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

  /** Steps down, and hears nothing more. */
  close(): void {
    clearInterval(this.#timer)
    this.#closed.abort()
    this.#options.channel.onmessage = null
    this.#options.channel.close()
    this.#release?.()
    this.#release = null
  }

  /** Queues for the lock, and holds it until closed or deposed; then queues again. */
  async #stand(steal: boolean): Promise<void> {
    const { locks, name, onLead, onDeposed, onAlone } = this.#options
    const { signal } = this.#closed
    const lock: { release: (() => void) | null } = { release: null }
    try {
      // A lock that is stolen is granted at once: there is nothing for a signal to end.
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
    // It was taken away, and not by this tab itself.
    if (this.#release === lock.release) {
      this.#release = null
      this.#missedPings = 0
      onDeposed()
    }
    // Who stole a lock still has its place in the queue.
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

  /** Asks for a sign of life where somebody would notice that there is none. */
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
