// Programs that a benchmark starts, and ends by their process ids.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { clearTimeout } from 'node:timers'
import { fileURLToPath } from 'node:url'

const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 15_000

const running = new Set()

// Whatever ends the benchmark: nothing that it started stays behind.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

const track = child => {
  running.add(child)
  child.once('close', () => running.delete(child))
  return child
}

/** SIGTERM, and SIGKILL for what does not end by it. */
export const stopChild = async child => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
  await closed
  clearTimeout(timer)
}

/** Starts a program; resolves with the match of `ready` in what it writes, or at once where it is null. */
export const startProgram = async (command, args, { ready, env = process.env, cwd = '/', ...who }) => {
  const child = track(spawn(command, args, { cwd, env, ...who, stdio: ['ignore', 'pipe', 'pipe'] }))
  let written = ''
  const match = await new Promise((resolve, reject) => {
    const read = text => {
      written = (written + text).slice(-20_000)
      const found = ready?.exec(written)
      if (found) resolve(found)
    }
    child.stdout.setEncoding('utf8').on('data', read)
    child.stderr.setEncoding('utf8').on('data', read)
    if (ready === null) child.once('spawn', () => resolve(null))
    child.once('error', reject)
    child.once('close', code => reject(new Error(`${command} ended with code ${code}:\n${written}`)))
    setTimeout(() => reject(new Error(`${command} was not ready in time:\n${written}`)), START_TIMEOUT_MS).unref()
  })
  return { pid: child.pid, match, output: () => written, stop: () => stopChild(child) }
}

/** A Node process of this benchmark that answers calls: `call('measure', options)` runs `measure(options)` of its module. */
export const startWorker = async (path, options = {}, execArgv = []) => {
  const child = track(fork(fileURLToPath(path), [JSON.stringify(options)], { execArgv }))
  const waiting = new Map()
  let next = 1
  const fail = error => {
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  child.once('close', code => fail(new Error(`${fileURLToPath(path)} ended with code ${code}`)))
  child.on('message', ({ id, result, error }) => {
    const waiter = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) waiter?.resolve(result)
    else waiter?.reject(new Error(error))
  })
  const call = (name, args = {}) =>
    new Promise((resolve, reject) => {
      const id = next++
      waiting.set(id, { resolve, reject })
      child.send({ id, name, args })
    })
  const ready = await call('ready')
  return { pid: child.pid, ready, call, stop: () => stopChild(child) }
}

/** The other side of `startWorker`. Ends with its parent. */
export const serveCalls = functions => {
  process.on('disconnect', () => process.exit(0))
  process.on('message', async ({ id, name, args }) => {
    try {
      process.send({ id, result: await functions[name](args) })
    } catch (error) {
      process.send({ id, error: error.stack })
    }
  })
}

/** What a worker was started with. */
export const workerOptions = () => JSON.parse(process.argv[2] ?? '{}')

/** Resident memory in bytes (proc_pid_status(5)). */
export const residentBytes = pid => {
  const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(kilobytes?.[1] ?? 0) * 1024
}

/** Seconds of CPU that a process has used (proc_pid_stat(5): utime and stime, in hundredths). */
export const cpuSeconds = pid => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Seconds of CPU of those processes that live: a connection may have been closed, and another opened. */
export const cpuSecondsOf = pids =>
  new Map(
    pids.flatMap(pid => {
      try {
        return [[pid, cpuSeconds(pid)]]
      } catch {
        return []
      }
    }),
  )
