import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort } from './free-port.ts'

const DEFAULT_URL = 'http://127.0.0.1:3000'
const PROBE_TIMEOUT_MS = 2_000
const START_TIMEOUT_MS = 60_000
const START_POLL_MS = 50

export interface DemoService {
  url: string
  /** Whether the demo has started the service, and ends it. */
  own: boolean
  end(): Promise<void>
}

const isReady = async (url: string): Promise<boolean> => {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) })
    // Another program may listen there, and answer 200 to anything.
    return response.ok && ((await response.json()) as { status?: string }).status === 'ready'
  } catch {
    return false
  }
}

const waitUntilReady = async (url: string, service: ChildProcess, signal: AbortSignal): Promise<void> => {
  const deadline = performance.now() + START_TIMEOUT_MS
  while (!(await isReady(url))) {
    signal.throwIfAborted()
    if (service.exitCode !== null || service.signalCode !== null) throw new Error('The service could not be started.')
    if (performance.now() > deadline) throw new Error(`The service was not ready after ${START_TIMEOUT_MS / 1000} s.`)
    await pause(START_POLL_MS)
  }
}

const startService = async (signal: AbortSignal): Promise<DemoService> => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  // In a process group of its own: Ctrl-C must not end the service before the job has been cancelled through it.
  const service = fork(fileURLToPath(new URL('./service-process.js', import.meta.url)), {
    detached: true,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: { ...process.env, HOST: '127.0.0.1', PORT: String(port) },
  })
  const end = async () => {
    const exited = service.exitCode === null && service.signalCode === null ? once(service, 'exit') : null
    if (service.connected) service.disconnect()
    await exited
  }
  try {
    await waitUntilReady(url, service, signal)
  } catch (error) {
    await end()
    throw error
  }
  return { url, own: true, end }
}

/**
 * The service of HEADWAY_URL, or the one that runs on this machine, or one that this demo starts. Raises an error that says
 * what to do.
 */
export const findOrStartService = async (signal: AbortSignal): Promise<DemoService> => {
  const given = process.env.HEADWAY_URL?.replace(/\/+$/, '')
  const url = given ? given : DEFAULT_URL
  if (await isReady(url)) return { url, own: false, end: async () => undefined }
  if (given) throw new Error(`No Headway answers at HEADWAY_URL=${given}: start it, or unset HEADWAY_URL.`)
  return startService(signal)
}
