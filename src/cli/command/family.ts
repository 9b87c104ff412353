import { setTimeout as pause } from 'node:timers/promises'
import { processTable, type ProcessEntry, type ProcessTable } from './process-table.ts'

/** How often to check whether all processes that were told to stop have ended. */
const LOOK_MS = 50

/** Reading the processes of a busy machine takes long, so the pause is at least this many times as long as the reading. */
const LOOK_SHARE = 10

/**
 * No process survives SIGKILL, but ending may take a moment. If processes fork faster than they are killed, the command gives
 * up after this time.
 */
const KILLED_MS = 3_000

/** Sends a signal to a process, or to a group by its negative id; false when no process may get it. */
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
  /** A text that only stands in the environment with which the command was started. */
  mark: string
  /** The command leads a process group that only contains the command and the processes that it has started. */
  hasGroup: boolean
  table?: ProcessTable
}

const UNKNOWN = { parent: 0, group: 0, session: 0, startedAt: '', name: '', isStopped: false }

const keyOf = ({ pid, startedAt }: ProcessEntry): string => `${pid} ${startedAt}`

/**
 * A command and all processes that it has started, including those that have left its process group and its session, and those
 * that init has adopted because their parent has ended. A process belongs to the family in five cases: its parent does; its
 * session or its group was founded by a member; it has inherited the command's environment; it writes to a pipe of the command;
 * or it has belonged to the family before. A process is identified by its id and its start time, so that a later process with
 * the same id is not taken for it.
 */
export class Family {
  readonly #options: FamilyOptions
  readonly #table: ProcessTable
  readonly #files: ReadonlySet<string>
  /**
   * The ids of all members so far, by `keyOf`. Members that have ended are kept, because groups and sessions are compared with
   * their founders.
   */
  readonly #known = new Map<string, number>()
  #signalled = new Set<string>()
  /** The system does not list its processes, so only the command itself is known. */
  readonly #isBlind: boolean
  /** The start time of the command. Linux counts it from the boot, and an older process was not started by the command. */
  readonly #since: number

  constructor(options: FamilyOptions) {
    this.#options = options
    this.#table = options.table ?? processTable
    // The command's pipes, without files that this process has inherited, because other programs may hold those as well.
    const own = new Set(this.#table.files(process.pid))
    this.#files = new Set(this.#table.files(options.pid).filter(file => !own.has(file)))
    this.#isBlind = this.#table.find(process.pid) === null
    const root = this.#table.find(options.pid)
    this.#since = Number(root?.startedAt)
    if (root) this.#known.set(keyOf(root), root.pid)
  }

  /** The members that are alive. */
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
      // A process that now has the id of an ended founder has founded another group.
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

  /** Whether the command itself is alive. */
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
    // To the whole group at once, so that no member can start another process in between.
    if (members.some(isOfGroup)) send(-pid, signal)
    for (const member of members) {
      this.#signalled.add(keyOf(member))
      const now = isOfGroup(member) ? null : this.#table.find(member.pid)
      if (now?.startedAt === member.startedAt) send(member.pid, signal)
      // A stopped process only handles SIGKILL until it is continued.
      if (member.isStopped && signal !== 'SIGKILL') send(member.pid, 'SIGCONT')
    }
  }

  /**
   * Asks all members to end by `signal`, and kills them after `graceSeconds`. Resolves with members that could not be ended,
   * such as processes of another user. Processes that a member starts after it was asked, to clean up, are left alone until
   * then. When the command itself has ended, the others are asked by SIGTERM, because shells let background processes ignore
   * SIGINT.
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

  /** Whether a process was asked to end, or was started by a living process that was asked. */
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
