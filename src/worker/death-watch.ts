import { spawnSync } from 'node:child_process'
import { basename } from 'node:path'
import { isMainThread } from 'node:worker_threads'

/** What a dying process may be held up by: this long, and no longer. */
const LAST_WORDS_MS = 5_000

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

export interface LastWord {
  headers: Record<string, string>
  /** One after the other. */
  requests: { url: string; body: object }[]
}

/** A job that must not be left open. */
export interface Unfinished {
  /** null: the service does not know the job. */
  lastWord(error: Error): LastWord | null
}

export interface DeathWatch {
  add(job: Unfinished): void
  remove(job: Unfinished): void
}

/**
 * Runs in a process of its own, since one that dies cannot wait for an answer. Given as text, so that it is found also where
 * this module was bundled into another file.
 */
const MESSENGER = `
const words = JSON.parse(require('node:fs').readFileSync(0, 'utf8'))
for (const { headers, requests } of words) {
  void (async () => {
    for (const { url, body } of requests) await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  })().catch(() => undefined)
}`

const say = (words: readonly LastWord[]): void => {
  // A program that is one file with Node in it would be run once more.
  if (words.length === 0 || !/^(node|nodejs|bun)(\.exe)?$/i.test(basename(process.execPath))) return
  // NODE_OPTIONS may load what this program needs, and the messenger does not.
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
 * Sees to it that the jobs of a process that dies end as failed with the reason, instead of being missed a minute later. It
 * listens only as long as there are jobs, and changes nothing about how the process dies: an error that nobody caught still
 * ends it with its own code, and a signal still kills it, unless the program has a handler of its own.
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
    // Whoever handles it may go on; if not, the exit that follows has it.
    uncaught = error
  }
  const onExit = (code: number): void => {
    if (code !== 0 && uncaught) sayAll(uncaught)
    else sayAll(withoutStack(`The process ended with code ${code}, and the job had not.`))
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    // Out of the way first: handlers of others may kill the process only where they are alone.
    process.removeListener(signal, onSignal)
    const others = process.listenerCount(signal)
    if (others > signalExitListeners()) {
      // It is for the program to decide whether this is the end; if it exits, that will be heard.
      setImmediate(() => jobs.size > 0 && process.prependListener(signal, onSignal)).unref()
      return
    }
    sayAll(withoutStack(`The process was ended by ${signal}.`))
    if (others === 0) process.kill(process.pid, signal)
  }

  const listen = (): void => {
    process.on('uncaughtExceptionMonitor', onUncaught)
    process.on('exit', onExit)
    // The first process of a container does not die of a signal without a handler, so this must not announce it.
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
 * How many of a signal's listeners are those of `signal-exit`, versions 3 and 4, which half of all command-line programs have
 * somewhere below: where they are alone they kill the process, and where they are not they leave that to the others.
 */
const signalExitListeners = (): number => {
  const { __signal_exit_emitter__: third } = process as { __signal_exit_emitter__?: { count?: number } }
  const fourth = (globalThis as Record<symbol, { count?: number } | undefined>)[Symbol.for('signal-exit emitter')]
  return (third?.count ?? 0) + (fourth?.count ?? 0)
}

/** Its stack would show this file. */
const withoutStack = (message: string): Error => {
  const error = new Error(message)
  delete error.stack
  return error
}

/** For programs that see to the end of their jobs themselves. */
export const noDeathWatch: DeathWatch = { add: () => undefined, remove: () => undefined }
