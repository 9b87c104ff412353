import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { Family, send } from './family.ts'
import type { ProcessEntry } from './process-table.ts'

/** Passed on to the command. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/** Those that ask for an end. */
const STOPPING: readonly string[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']

/** Those that a terminal sends to every process that runs in it. */
const OF_TERMINAL: readonly string[] = ['SIGINT', 'SIGQUIT']

/** What a process that the command has left behind may still write is not waited for. */
const LAST_OUTPUT_MS = 1_000

export interface Ended {
  /** null: a signal ended it. */
  code: number | null
  signal: NodeJS.Signals | null
  /** It could not be started. */
  error: NodeJS.ErrnoException | null
  /** It was asked to end while it ran: then 0 does not say that it has done its work. */
  wasAsked: boolean
  /** What it has started and could not be ended, such as processes of another user. */
  left: readonly ProcessEntry[]
}

export interface CommandOptions {
  command: string
  args: readonly string[]
  environment: NodeJS.ProcessEnv
  /** How long the command, and all that it has started, may take to end when they are asked to. */
  graceSeconds: number
  /** Reads standard output as well; without it the command writes where this process does. */
  onOutput: ((text: string) => void) | null
  onError: (text: string) => void
}

export interface RunningCommand {
  /** Where it was asked to end: not before all that it has started has ended as well. */
  ended: Promise<Ended>
  /** Asks it, and all that it has started, to end; and ends them after the grace. Does nothing when it has ended by itself. */
  stop(): void
}

/**
 * All that a command starts inherits this, also what leaves its group and session. A command that is itself `headway run` adds
 * its own mark, so that its processes belong to both.
 */
const MARKS = 'HEADWAY_RUN'

/** What a shell says of an end: 127 not found, 126 not executable, 128 + n by a signal. */
export const exitCodeOf = ({ code, signal, error }: Pick<Ended, 'code' | 'signal' | 'error'>): number => {
  if (error) return error.code === 'ENOENT' ? 127 : 126
  return code ?? 128 + (signal ? constants.signals[signal] : 0)
}

/** Copies a stream of the command to one of this process, and shows it to `read`. */
const passOn = (from: NodeJS.ReadableStream | null, to: NodeJS.WritableStream, read: (text: string) => void): void => {
  if (!from) return
  from.pipe(to, { end: false })
  // As text of its own: a character may be cut in two between two chunks, and what is passed on must stay as it is.
  const decoder = new TextDecoder()
  from.on('data', (bytes: Buffer) => read(decoder.decode(bytes, { stream: true })))
  // Whoever reads has gone (`| head`): the command hears of it as it would without us.
  to.once('error', () => (from as Partial<{ destroy(): void }>).destroy?.())
}

/** Resolves when a process has ended; a moment later where others hold its output, so that its last lines are read. */
const endOf = async (child: ChildProcess): Promise<Pick<Ended, 'code' | 'signal'>> => {
  const closed = new Promise(resolve => child.once('close', resolve))
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  await Promise.race([closed, pause(LAST_OUTPUT_MS, undefined, { ref: false })])
  return { code, signal }
}

/**
 * Starts a command that reads and writes where this process does, and passes signals on to it. One that asks for an end goes to
 * all that the command has started, and ends them after the grace. The keyboard's are sent by the terminal itself, and whoever
 * pressed Ctrl-C may press it again: there, only what outlives the command is ended.
 */
export const startCommand = (options: CommandOptions): RunningCommand => {
  const { command, args, environment, graceSeconds, onOutput, onError } = options
  const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  const hasGroup = !hasTerminal && process.platform !== 'win32'
  let stopping: Promise<readonly ProcessEntry[]> | null = null as Promise<readonly ProcessEntry[]> | null
  let wasAsked = false
  const stop = (signal: NodeJS.Signals): void => {
    if (!family?.hasRoot) return
    wasAsked = true
    stopping ??= family.stop(signal, graceSeconds)
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    if (pid === undefined) return
    if (hasTerminal && OF_TERMINAL.includes(signal)) wasAsked ||= family?.hasRoot ?? false
    else if (!STOPPING.includes(signal)) send(hasGroup ? -pid : pid, signal)
    else if (stopping) family?.signal(signal, family.look())
    else stop(signal)
  }
  // Before the command begins: the first thing that it does may be to make somebody send one.
  for (const signal of SIGNALS) process.on(signal, onSignal)
  const mark = randomUUID()
  const child = spawn(command, args, {
    env: { ...environment, [MARKS]: `${environment[MARKS] ?? ''} ${mark}`.trim() },
    stdio: ['inherit', onOutput ? 'pipe' : 'inherit', 'pipe'],
    // A group of its own can be ended with all that it has started. In a terminal it would lose the keyboard.
    detached: hasGroup,
  })
  const { pid } = child
  const family = pid === undefined ? null : new Family({ pid, mark, hasGroup })
  passOn(child.stderr, process.stderr, onError)
  if (onOutput) passOn(child.stdout, process.stdout, onOutput)
  const untilEnded = async (): Promise<Ended> => {
    try {
      const ended = await endOf(child)
      if (wasAsked) stopping ??= family?.stop('SIGTERM', graceSeconds) ?? null
      return { ...ended, error: null, wasAsked, left: (await stopping) ?? [] }
    } catch (error) {
      return { code: null, signal: null, error: error as NodeJS.ErrnoException, wasAsked, left: [] }
    } finally {
      for (const signal of SIGNALS) process.removeListener(signal, onSignal)
      // A process that the command has left behind may hold them, and must not hold this one.
      child.stdout?.destroy()
      child.stderr?.destroy()
    }
  }
  return { ended: untilEnded(), stop: () => stop('SIGTERM') }
}
