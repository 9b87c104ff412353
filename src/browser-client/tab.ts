import type { Surroundings } from './browser.ts'
import { Connection } from './connection.ts'
import type { ConnectionTiming, Problem } from './connection.ts'
import type { JobUpdate } from './job-store.ts'
import type { Requests } from './requests.ts'
import type { ServiceClock } from './service-clock.ts'
import { Sharing } from './sharing.ts'
import type { TabChannel, TabMessage } from './sharing.ts'
import type { Tokens } from './tokens.ts'
import type { ConnectionState, JobFilter } from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'

export interface TabOptions {
  /** The name of what is shared with other tabs; null: nothing is shared. */
  name: string | null
  surroundings: Surroundings
  timing: Partial<ConnectionTiming> & { pingMs?: number }
  requests: Requests
  tokens: Tokens
  filter: JobFilter
  clock: ServiceClock
  held: () => { jobs: readonly LiveJob[]; truncated: boolean; loaded: boolean }
  onJobs: (jobs: readonly LiveJob[], truncated: boolean) => void
  onChanges: (changes: readonly JobUpdate[]) => void
  onState: (connection: ConnectionState, problem: Problem) => void
}

/** One page among the tabs that share a connection: it has the connection, or gets messages from the tab that has it. */
export class Tab {
  readonly #options: TabOptions
  readonly #id = crypto.getRandomValues(new Uint32Array(4)).join('-')
  #sharing: Sharing | null = null
  #connection: Connection | null = null
  #lastEventId: string | null = null
  #state: { connection: ConnectionState; problem: Problem } = { connection: 'connecting', problem: null }
  #closed = false
  /** The browser has suspended the page, or is about to. */
  #stopped = false

  constructor(options: TabOptions) {
    this.#options = options
  }

  start(): void {
    const { name, surroundings, timing } = this.#options
    const { locks, isVisible } = surroundings
    // Opened only if it is used: in Node an open channel keeps the process alive.
    const channel = name === null || !locks ? null : this.#openChannel(name)
    if (name === null || !locks || !channel) {
      this.#connect()
      return
    }
    this.#sharing = new Sharing({
      name,
      tab: this.#id,
      locks,
      channel,
      isVisible,
      onLead: () => this.#connect(),
      onDeposed: () => this.#disconnect(),
      onAlone: () => this.#goAlone(),
      onMessage: message => this.#hear(message),
      onHello: tab => this.#tellAll(tab),
      onNudge: wake => (wake ? this.#connection?.wake() : this.#connection?.tick()),
      ...(timing.pingMs !== undefined && { pingMs: timing.pingMs }),
    })
    this.#sharing.start()
  }

  /**
   * The browser suspends this page, so it gives up its connection and its lock. A lock that is held or requested by a suspended
   * page would keep the other tabs from connecting.
   */
  stop(): void {
    this.#stopped = true
    this.#leave()
  }

  /** The page is visible again: does what is due, and asks for what it may have missed. */
  look(): void {
    if (this.#restart()) return
    if (this.#connection) this.#connection.tick()
    else if (this.#isRefused()) this.#sharing?.takeOver()
    else this.#sharing?.hello()
  }

  wake(): void {
    if (this.#restart()) return
    if (this.#connection) this.#connection.wake()
    else if (this.#isRefused()) this.#sharing?.takeOver()
    else this.#sharing?.wake()
  }

  close(): void {
    this.#closed = true
    this.#leave()
  }

  /** Starts again after a stop. Answers whether there was one. */
  #restart(): boolean {
    if (!this.#stopped || this.#closed) return false
    this.#stopped = false
    this.start()
    return true
  }

  #leave(): void {
    this.#disconnect()
    this.#sharing?.close()
    this.#sharing = null
  }

  #connect(): void {
    const { requests, tokens, filter, held, timing, clock, onJobs, onChanges } = this.#options
    const tell = () => this.#tellState()
    const connection = new Connection({
      requests,
      tokens,
      filter,
      timing,
      known: () => held().jobs,
      now: () => clock.now(),
      lastEventId: this.#lastEventId,
      sink: {
        snapshot: (jobs, truncated, id) => {
          if (id !== null) this.#lastEventId = id
          clock.observe(id, false)
          onJobs(jobs, truncated)
          this.#tellAll(null)
        },
        changes: (changes, id) => {
          this.#lastEventId = id
          clock.observe(id, true)
          onChanges(changes)
          this.#post({ kind: 'changes', from: this.#id, changes, lastEventId: id })
        },
        state: (state, problem) => {
          this.#setState(state, problem)
          tell()
        },
      },
    })
    this.#connection = connection
    void connection.run()
  }

  /** Whether the leader's token was refused. This tab's token may be valid. */
  #isRefused(): boolean {
    return this.#state.connection === 'unauthorized'
  }

  #openChannel(name: string): TabChannel | null {
    try {
      return this.#options.surroundings.openChannel?.(name) ?? null
    } catch {
      // A frame without an origin may have no channel.
      return null
    }
  }

  #goAlone(): void {
    this.#leave()
    this.#connect()
  }

  #disconnect(): void {
    this.#connection?.close()
    this.#connection = null
  }

  #setState(connection: ConnectionState, problem: Problem): void {
    this.#state = { connection, problem }
    this.#options.onState(connection, problem)
  }

  #hear(message: Extract<TabMessage, { kind: 'all' | 'changes' | 'state' }>): void {
    if (this.#closed) return
    const { clock, onJobs, onChanges } = this.#options
    if (message.kind === 'state') {
      this.#setState(message.connection, message.problem)
      return
    }
    this.#lastEventId = message.lastEventId
    if (message.kind === 'changes') {
      clock.observe(message.lastEventId, true)
      onChanges(message.changes)
    } else {
      clock.adopt(message.aheadMs)
      onJobs(message.jobs, message.truncated)
    }
  }

  /** Sends one tab, or all, what this tab knows. */
  #tellAll(to: string | null): void {
    const { jobs, truncated, loaded } = this.#options.held()
    const { aheadMs } = this.#options.clock
    if (loaded)
      this.#post({ kind: 'all', from: this.#id, to, jobs, truncated, lastEventId: this.#lastEventId, aheadMs })
    if (to !== null) this.#tellState()
  }

  #tellState(): void {
    const { connection, problem } = this.#state
    // An error object has properties that cannot be sent to another tab.
    const plain = problem && { status: problem.status, code: problem.code, detail: problem.detail }
    this.#post({ kind: 'state', from: this.#id, connection, problem: plain })
  }

  #post(message: TabMessage): void {
    this.#sharing?.post(message)
  }
}
