import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'

/** Passed on to the command. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/** Those that a terminal sends to every process that runs in it. */
const OF_TERMINAL: readonly string[] = ['SIGINT', 'SIGQUIT']

/** What a process that the command has left behind may still write is not waited for. */
const LAST_OUTPUT_MS = 1_000

/** How often it is looked whether everything that was told to stop has done so. */
const LOOK_MS = 50

/** Nothing outlives SIGKILL, but it may take a moment. */
const KILLED_MS = 1_000

export interface Ended {
  /** null: a signal ended it. */
  code: number | null
  signal: NodeJS.Signals | null
  /** It could not be started. */
  error: NodeJS.ErrnoException | null
}

export interface CommandOptions {
  command: string
  args: readonly string[]
  environment: NodeJS.ProcessEnv
  /** Reads standard output as well; without it the command writes where this process does. */
  onOutput: ((text: string) => void) | null
  onError: (text: string) => void
}

export interface RunningCommand {
  /** After `stop`: not before all that it has started has ended as well. */
  ended: Promise<Ended>
  /** Asks it, and all that it has started, to end; and ends them after `graceSeconds`. */
  stop(graceSeconds: number): void
}

/** What a shell says of an end: 127 not found, 126 not executable, 128 + n by a signal. */
export const exitCodeOf = ({ code, signal, error }: Ended): number => {
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

/** Sends a signal to a process, or to a group by its negative id; false when there is nobody left to get it. */
const send = (target: number, signal: NodeJS.Signals | 0): boolean => {
  try {
    return process.kill(target, signal)
  } catch {
    return false
  }
}

/** A process and all that it and its children have started. Where there is no `ps`, itself alone. */
const familyOf = (pid: number): number[] => {
  const { stdout } = spawnSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }) as { stdout: string | null }
  const pairs = (stdout ?? '').split('\n').map(line => line.trim().split(/\s+/).map(Number))
  const family = [pid]
  for (const parent of family) for (const [child, ofWhom] of pairs) if (child && ofWhom === parent) family.push(child)
  return family
}

const stopAll = async (targets: readonly number[], graceSeconds: number): Promise<void> => {
  const left = (): boolean => targets.some(target => send(target, 0))
  const untilGone = async (ms: number): Promise<void> => {
    const until = performance.now() + ms
    while (left() && performance.now() < until) await pause(LOOK_MS)
  }
  for (const target of targets) send(target, 'SIGTERM')
  await untilGone(graceSeconds * 1000)
  if (!left()) return
  for (const target of targets) send(target, 'SIGKILL')
  await untilGone(KILLED_MS)
}

const endOf = async (child: ChildProcess): Promise<Ended> => {
  const closed = new Promise(resolve => child.once('close', resolve))
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  await Promise.race([closed, pause(LAST_OUTPUT_MS, undefined, { ref: false })])
  return { code, signal, error: null }
}

/** Starts a command that reads and writes where this process does, and passes signals on to it. */
export const startCommand = ({ command, args, environment, onOutput, onError }: CommandOptions): RunningCommand => {
  const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  const hasGroup = !hasTerminal && process.platform !== 'win32'
  const onSignal = (signal: NodeJS.Signals): void => {
    if (pid !== undefined && !(hasTerminal && OF_TERMINAL.includes(signal))) send(hasGroup ? -pid : pid, signal)
  }
  // Before the command begins: the first thing that it does may be to make somebody send one.
  for (const signal of SIGNALS) process.on(signal, onSignal)
  const child = spawn(command, args, {
    env: environment,
    stdio: ['inherit', onOutput ? 'pipe' : 'inherit', 'pipe'],
    // A group of its own can be ended with all that it has started. In a terminal it would lose the keyboard.
    detached: hasGroup,
  })
  const { pid } = child
  passOn(child.stderr, process.stderr, onError)
  if (onOutput) passOn(child.stdout, process.stdout, onOutput)
  let stopped: Promise<void> | null = null as Promise<void> | null
  const untilEnded = async (): Promise<Ended> => {
    try {
      const ended = await endOf(child)
      await stopped
      return ended
    } catch (error) {
      return { code: null, signal: null, error: error as NodeJS.ErrnoException }
    } finally {
      for (const signal of SIGNALS) process.removeListener(signal, onSignal)
      // A process that the command has left behind may hold them, and must not hold this one.
      child.stdout?.destroy()
      child.stderr?.destroy()
    }
  }
  return {
    ended: untilEnded(),
    stop(graceSeconds) {
      if (pid !== undefined) stopped ??= stopAll(hasGroup ? [-pid] : familyOf(pid), graceSeconds)
    },
  }
}
