import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'

/** Passed on to the command. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

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
  ended: Promise<Ended>
  /** Asks it to end, and ends it after `graceSeconds`. */
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

const endOf = async (child: ChildProcess): Promise<Ended> => {
  const closed = new Promise(resolve => child.once('close', resolve))
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  await Promise.race([closed, pause(LAST_OUTPUT_MS, undefined, { ref: false })])
  return { code, signal, error: null }
}

/** Starts a command that reads and writes where this process does, and passes signals on to it. */
export const startCommand = ({ command, args, environment, onOutput, onError }: CommandOptions): RunningCommand => {
  const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY
  const child = spawn(command, args, {
    env: environment,
    stdio: ['inherit', onOutput ? 'pipe' : 'inherit', 'pipe'],
    // A group of its own can be ended with all that it has started. In a terminal it would lose the keyboard.
    detached: !hasTerminal && process.platform !== 'win32',
  })
  passOn(child.stderr, process.stderr, onError)
  if (onOutput) passOn(child.stdout, process.stdout, onOutput)

  const kill = (signal: NodeJS.Signals): void => {
    if (child.pid === undefined) return
    try {
      process.kill(hasTerminal || process.platform === 'win32' ? child.pid : -child.pid, signal)
    } catch {
      // It has gone.
    }
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!hasTerminal || !OF_TERMINAL.includes(signal)) kill(signal)
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  let killing: NodeJS.Timeout | undefined
  const ended = endOf(child)
    .catch((error: unknown): Ended => ({ code: null, signal: null, error: error as NodeJS.ErrnoException }))
    .finally(() => {
      clearTimeout(killing)
      for (const signal of SIGNALS) process.removeListener(signal, onSignal)
    })
  return {
    ended,
    stop(graceSeconds) {
      kill('SIGTERM')
      killing = setTimeout(kill, graceSeconds * 1000, 'SIGKILL')
    },
  }
}
