import { setTimeout as pause } from 'node:timers/promises'
import { processTable, type ProcessEntry, type ProcessTable } from './process-table.ts'

/** How often it is looked whether everything that was told to stop has done so. */
const LOOK_MS = 50

/** A look at a machine with many processes takes its time, and must not take all of it. */
const LOOK_SHARE = 10

/** Nothing outlives SIGKILL, but it may take a moment; what forks faster than it is killed is given up after this. */
const KILLED_MS = 3_000

/** Sends a signal to a process, or to a group by its negative id; false when there is nobody who may get it. */
export const send = (target: number, signal: NodeJS.Signals | 0): boolean => {
  try {
    return process.kill(target, signal)
  } catch {
    return false
  }
}

export interface FamilyOptions {
  /** The command itself. */
  pid: number
  /** Stands in the environment that it was started with, and nowhere else. */
  mark: string
  /** The command leads a process group, which nothing but it and what it has started is in. */
  hasGroup: boolean
  table?: ProcessTable
}

const UNKNOWN = { parent: 0, group: 0, session: 0, startedAt: '', name: '', isStopped: false }

const keyOf = ({ pid, startedAt }: ProcessEntry): string => `${pid} ${startedAt}`

/**
 * A command and all that it has started, also what has left its process group and its session, and what was handed to init
 * because its parent has ended. A process belongs to it whose parent does, whose session or group was founded by one that does,
 * that has inherited the command's environment, or that writes where only the command could write. What has belonged to it
 * once does so for good. A process is named by its id and its start, so that one that got the id of another later is not taken
 * for it.
 */
export class Family {
  readonly #options: FamilyOptions
  readonly #table: ProcessTable
  readonly #files: ReadonlySet<string>
  /** Each by `keyOf`, with its id: founders of groups and sessions are looked for also when they have ended. */
  readonly #known = new Map<string, number>()
  #signalled = new Set<string>()
  /** The system does not tell what runs: then the command is all that is known. */
  readonly #isBlind: boolean
  /** Linux counts from the boot: what is older than the command is nothing that it has started. */
  readonly #since: number

  constructor(options: FamilyOptions) {
    this.#options = options
    this.#table = options.table ?? processTable
    // Pipes that this process has made; what it has itself from outside, others have as well.
    const own = new Set(this.#table.files(process.pid))
    this.#files = new Set(this.#table.files(options.pid).filter(file => !own.has(file)))
    this.#isBlind = this.#table.find(process.pid) === null
    const root = this.#table.find(options.pid)
    this.#since = Number(root?.startedAt)
    if (root) this.#known.set(keyOf(root), root.pid)
  }

  /** Those that live. */
  look(): ProcessEntry[] {
    if (this.#isBlind) return send(this.#options.pid, 0) ? [{ ...UNKNOWN, pid: this.#options.pid }] : []
    const all = this.#table
      .list()
      .filter(entry => entry.pid !== process.pid && !(Number(entry.startedAt) < this.#since))
    const byPid = new Map(all.map(entry => [entry.pid, entry]))
    const founders = new Set(this.#known.values())
    const members = new Map<number, ProcessEntry>()
    const founded = (id: number): boolean => {
      const founder = byPid.get(id)
      // Whoever has the id of a founder that has ended founded another group.
      return founders.has(id) && (!founder || this.#known.has(keyOf(founder)))
    }
    const heirs = new Map<number, boolean>()
    const inherits = ({ pid }: ProcessEntry): boolean => {
      const known = heirs.get(pid) ?? this.#table.inherits(pid, this.#options.mark, this.#files)
      heirs.set(pid, known)
      return known
    }
    const belongs = (entry: ProcessEntry): boolean =>
      this.#known.has(keyOf(entry)) ||
      members.has(entry.parent) ||
      founded(entry.group) ||
      founded(entry.session) ||
      inherits(entry)
    for (let isNew = true; isNew;) {
      isNew = false
      for (const entry of all) {
        if (members.has(entry.pid) || !belongs(entry)) continue
        members.set(entry.pid, entry)
        this.#known.set(keyOf(entry), entry.pid)
        founders.add(entry.pid)
        isNew = true
      }
    }
    return [...members.values()]
  }

  /** Whether the command itself lives. */
  get hasRoot(): boolean {
    if (this.#isBlind) return send(this.#options.pid, 0)
    const root = this.#table.find(this.#options.pid)
    return root !== null && this.#known.has(keyOf(root))
  }

  /** Sends a signal to each of `members` once. */
  signal(signal: NodeJS.Signals, members: readonly ProcessEntry[]): void {
    const { pid, hasGroup } = this.#options
    if (this.#isBlind) send(pid, signal)
    const isOfGroup = ({ group }: ProcessEntry): boolean => hasGroup && group === pid
    // At once, so that none of them can start another one in between.
    if (members.some(isOfGroup)) send(-pid, signal)
    for (const member of members) {
      this.#signalled.add(keyOf(member))
      const now = isOfGroup(member) ? null : this.#table.find(member.pid)
      if (now?.startedAt === member.startedAt) send(member.pid, signal)
      // What is stopped hears of nothing but SIGKILL until it goes on.
      if (member.isStopped && signal !== 'SIGKILL') send(member.pid, 'SIGCONT')
    }
  }

  /**
   * Asks all to end by `signal`, and ends them after `graceSeconds`; resolves with what could not be ended, such as a process of
   * another user. What one of them starts after it was asked, to clean up, is left alone for that time. What has outlived the
   * command itself is asked by SIGTERM: shells let what they start in the background ignore SIGINT.
   */
  async stop(signal: NodeJS.Signals, graceSeconds: number): Promise<ProcessEntry[]> {
    this.#signalled = new Set()
    let members = this.look()
    this.signal(signal, members)
    let asksAgain = signal !== 'SIGTERM'
    members = await this.#untilGone(graceSeconds * 1000, left => {
      if (asksAgain && !this.hasRoot) {
        asksAgain = false
        this.signal('SIGTERM', left)
      }
      const late = left.filter(member => !this.#isOfSignalled(member, left))
      if (late.length > 0) this.signal('SIGTERM', late)
    })
    if (members.length === 0) return members
    const kill = (left: ProcessEntry[]): void => this.signal('SIGKILL', left)
    kill(members)
    return this.#untilGone(KILLED_MS, kill)
  }

  /** Whether a process was asked, or one that was asked, and lives, has started it. */
  #isOfSignalled(member: ProcessEntry, members: readonly ProcessEntry[]): boolean {
    for (let at: ProcessEntry | undefined = member; at;) {
      if (this.#signalled.has(keyOf(at))) return true
      const { parent }: ProcessEntry = at
      at = members.find(({ pid }) => pid === parent)
    }
    return false
  }

  async #untilGone(ms: number, meanwhile: (left: ProcessEntry[]) => void): Promise<ProcessEntry[]> {
    const until = performance.now() + ms
    for (;;) {
      const began = performance.now()
      const left = this.look()
      if (left.length === 0 || performance.now() >= until) return left
      meanwhile(left)
      await pause(Math.max(LOOK_MS, (performance.now() - began) * LOOK_SHARE))
    }
  }
}
