import { spawnSync } from 'node:child_process'
import { basename } from 'node:path'
import { isMainThread } from 'node:worker_threads'

/** A dying process is delayed for at most this long. */
const LAST_WORDS_MS = 5_000

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

export interface LastWord {
  headers: Record<string, string>
  /** Sent one after the other. */
  requests: { url: string; body: object }[]
}

/** A job that has not ended. */
export interface Unfinished {
  /** null: the service does not know the job. */
  lastWord(error: Error): LastWord | null
}

export interface DeathWatch {
  add(job: Unfinished): void
  remove(job: Unfinished): void
}

/**
 * Runs in a process of its own, because a dying process cannot wait for an answer. It is a text, so that it is available even
 * if this module was bundled into another file.
 */
const MESSENGER = `
const words = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
for (const { headers, requests } of words) {
  void (async () => {
    for (const { url, body } of requests) await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  })().catch(() => undefined)
}`

const say = (words: readonly LastWord[]): void => {
  // A program that is one file together with Node would start itself again.
  if (words.length === 0 || !/^(node|nodejs|bun)(\.exe)?$/i.test(basename(process.execPath))) return
  // NODE_OPTIONS may load modules that only this program needs.
  const env = { ...process.env }
  delete env['NODE_OPTIONS']
  spawnSync(process.execPath, ['-e', MESSENGER], {
    input: JSON.stringify(words),
    env,
    stdio: ['pipe', 'ignore', 'ignore'],
    timeout: LAST_WORDS_MS,
    windowsHide: true,
  })
}

/**
 * Makes the jobs of a process that dies end as failed with the reason, instead of timing out a minute later. It only listens
 * while there are jobs, and does not change how the process dies: an uncaught error still ends it with its own code, and a
 * signal still kills it, unless the program has its own handler.
 */
export const createDeathWatch = (): DeathWatch => {
  const jobs = new Set<Unfinished>()
  let uncaught: Error | null = null

  const sayAll = (error: Error): void => {
    const words = [...jobs].map(job => job.lastWord(error)).filter(word => word !== null)
    jobs.clear()
    stopListening()
    say(words)
  }
  const onUncaught = (error: Error): void => {
    // If another handler lets the process go on, nothing happens; otherwise `onExit` follows and uses this error.
    uncaught = error
  }
  const onExit = (code: number): void => {
    if (code !== 0 && uncaught) sayAll(uncaught)
    else sayAll(withoutStack(`The process ended with code ${code} before the job had ended.`))
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    // Removed first: some handlers of others only kill the process if they are the only ones.
    process.removeListener(signal, onSignal)
    const others = process.listenerCount(signal)
    if (others > signalExitListeners()) {
      // The program decides whether the process ends. If it exits, `onExit` is called.
      setImmediate(() => jobs.size > 0 && process.prependListener(signal, onSignal)).unref()
      return
    }
    sayAll(withoutStack(`The process was ended by ${signal}.`))
    if (others === 0) process.kill(process.pid, signal)
  }

  const listen = (): void => {
    process.on('uncaughtExceptionMonitor', onUncaught)
    process.on('exit', onExit)
    // The first process of a container ignores signals without a handler, so a signal does not mean its end.
    if (isMainThread && process.pid !== 1) for (const signal of SIGNALS) process.prependListener(signal, onSignal)
  }
  const stopListening = (): void => {
    process.removeListener('uncaughtExceptionMonitor', onUncaught)
    process.removeListener('exit', onExit)
    for (const signal of SIGNALS) process.removeListener(signal, onSignal)
  }

  return {
    add(job) {
      if (jobs.size === 0) listen()
      jobs.add(job)
    },
    remove(job) {
      if (jobs.delete(job) && jobs.size === 0) stopListening()
    },
  }
}

/**
 * How many listeners of a signal belong to `signal-exit`, versions 3 and 4, which many command-line programs depend on. They
 * kill the process if no other listeners exist, and otherwise leave that to the others.
 */
const signalExitListeners = (): number => {
  const { __signal_exit_emitter__: third } = process as { __signal_exit_emitter__?: { count?: number } }
  const fourth = (globalThis as Record<symbol, { count?: number } | undefined>)[Symbol.for('signal-exit emitter')]
  return (third?.count ?? 0) + (fourth?.count ?? 0)
}

/** An error without a stack, because the stack would show this file. */
const withoutStack = (message: string): Error => {
  const error = new Error(message)
  delete error.stack
  return error
}

/** For programs that end their jobs themselves. */
export const noDeathWatch: DeathWatch = { add: () => undefined, remove: () => undefined }
