import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:os'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { Family, send } from './family.ts'
import type { ProcessEntry } from './process-table.ts'

/** Signals that are passed on to the command. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/** Signals that ask the command to end. */
const STOPPING: readonly string[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']

/** Signals that a terminal sends to every process in it. */
const OF_TERMINAL: readonly string[] = ['SIGINT', 'SIGQUIT']

/** How long to wait for output after the command has ended: a process that it has left behind may keep its pipe open. */
const LAST_OUTPUT_MS = 1_000

export interface Ended {
  /** null: a signal ended it. */
  code: number | null
  signal: NodeJS.Signals | null
  /** The error with which the command could not be started. */
  error: NodeJS.ErrnoException | null
  /** The command was asked to end while it ran. Exit code 0 then does not mean that its work is done. */
  wasAsked: boolean
  /** Processes that the command has started and that could not be ended, such as processes of another user. */
  left: readonly ProcessEntry[]
}

export interface CommandOptions {
  command: string
  args: readonly string[]
  environment: NodeJS.ProcessEnv
  /** How long the command, and all processes that it has started, may take to end when they are asked to. */
  graceSeconds: number
  /** Called with standard output; without it the command writes to this process's output directly. */
  onOutput: ((text: string) => void) | null
  onError: (text: string) => void
  /** Called with what the command writes to its file descriptor 3. */
  onDescriptor: (text: string) => void
}

export interface RunningCommand {
  /**
   * Resolves when the command has ended. If it was asked to end, all processes that it has started have ended by then as well.
   */
  ended: Promise<Ended>
  /**
   * Asks the command and all processes that it has started to end, and kills them after the grace. Does nothing if the command
   * has ended by itself.
   */
  stop(): void
}

/**
 * The environment variable with the marks. All processes that a command starts inherit it, also those that leave its group and
 * session. A command that is itself `headway run` adds its own mark, so its processes belong to both.
 */
const MARKS = 'HEADWAY_RUN'

/** The exit code that a shell would answer: 127 not found, 126 not executable, 128 + n for a signal. */
export const exitCodeOf = ({ code, signal, error }: Pick<Ended, 'code' | 'signal' | 'error'>): number => {
  if (error) return error.code === 'ENOENT' ? 127 : 126
  return code ?? 128 + (signal ? constants.signals[signal] : 0)
}

/**
 * Starts a process. Answers the errors that Node raises in place of emitting them, such as ENOTDIR and ETXTBSY: the callers treat
 * both in the same way.
 */
const launch = (
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess | NodeJS.ErrnoException => {
  try {
    return spawn(command, args, options)
  } catch (error) {
    return error as NodeJS.ErrnoException
  }
}

/** Passes the text of a stream to `read`. A character may be cut in two between chunks. */
const readText = (from: NodeJS.ReadableStream, read: (text: string) => void): void => {
  const decoder = new TextDecoder()
  from.on('data', (bytes: Buffer) => read(decoder.decode(bytes, { stream: true })))
}

/** Copies a stream of the command to one of this process, byte for byte, and passes its text to `read`. */
const passOn = (from: NodeJS.ReadableStream | null, to: NodeJS.WritableStream, read: (text: string) => void): void => {
  if (!from) return
  from.pipe(to, { end: false })
  readText(from, read)
  // The reader has gone (`| head`). The command gets the same error as without `headway run`.
  to.once('error', () => (from as Partial<{ destroy(): void }>).destroy?.())
}

/** Resolves when a process has ended. If other processes hold its output open, it waits a moment for the last lines. */
const endOf = async (child: ChildProcess): Promise<Pick<Ended, 'code' | 'signal'>> => {
  const closed = new Promise(resolve => child.once('close', resolve))
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  await Promise.race([closed, pause(LAST_OUTPUT_MS, undefined, { ref: false })])
  return { code, signal }
}

/**
 * Starts a command that reads and writes where this process does, and passes signals on to it. A signal that asks for an end
 * goes to all processes that the command has started, which are killed after the grace. In a terminal, Ctrl-C reaches all of
 * them without `headway`, and the user may press it again: this process then only ends those that outlive the command.
 */
export const startCommand = (options: CommandOptions): RunningCommand => {
  const { command, args, environment, graceSeconds, onOutput, onError, onDescriptor } = options
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
  const unregister = (): void => {
    for (const signal of SIGNALS) process.removeListener(signal, onSignal)
  }
  // Registered before the command starts, because the command may cause a signal at once.
  for (const signal of SIGNALS) process.on(signal, onSignal)
  const mark = randomUUID()
  const child = launch(command, args, {
    env: { ...environment, [MARKS]: `${environment[MARKS] ?? ''} ${mark}`.trim() },
    stdio: ['inherit', onOutput ? 'pipe' : 'inherit', 'pipe', 'pipe'],
    // A group of its own can be signalled as a whole. In a terminal such a group would lose the keyboard.
    detached: hasGroup,
  })
  if (child instanceof Error) {
    unregister()
    const ended = { code: null, signal: null, error: child, wasAsked: false, left: [] }
    return { ended: Promise.resolve(ended), stop: () => undefined }
  }
  const { pid } = child
  const family = pid === undefined ? null : new Family({ pid, mark, hasGroup })
  passOn(child.stderr, process.stderr, onError)
  if (onOutput) passOn(child.stdout, process.stdout, onOutput)
  // There are no pipes where this process has too many files open.
  const descriptor = (child.stdio as ChildProcess['stdio'] | undefined)?.[3] as Readable | null | undefined
  if (descriptor) readText(descriptor, onDescriptor)
  // It is a socket, and the command may close it in any way.
  descriptor?.on('error', () => undefined)
  const untilEnded = async (): Promise<Ended> => {
    try {
      const ended = await endOf(child)
      if (wasAsked) stopping ??= family?.stop('SIGTERM', graceSeconds) ?? null
      return { ...ended, error: null, wasAsked, left: (await stopping) ?? [] }
    } catch (error) {
      return { code: null, signal: null, error: error as NodeJS.ErrnoException, wasAsked, left: [] }
    } finally {
      unregister()
      // A process that the command has left behind may keep the pipes open, which must not keep this process alive.
      child.stdout?.destroy()
      child.stderr?.destroy()
      descriptor?.destroy()
    }
  }
  return { ended: untilEnded(), stop: () => stop('SIGTERM') }
}
