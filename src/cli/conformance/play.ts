import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { withoutProxy } from '../channels/proxy.ts'
import { Family } from '../command/family.ts'
import type { Finding, Observed } from './rules.ts'
import type { Scenario } from './scenarios.ts'
import { startBadService, type BadService } from './service.ts'

/** How long a command may take beyond the time for which it works. */
const MORE_MS = 25_000
const DEFAULT_INTERVAL_MS = 1_000

export interface Played {
  scenario: string
  sentence: string
  findings: { rule: string; finding: Finding }[]
  /** The last that the command wrote to standard error, for a rule that did not hold. */
  output: string
}

export interface PlayOptions {
  command: string
  args: readonly string[]
  environment: NodeJS.ProcessEnv
  /** For how long the command is asked to work, in seconds. */
  seconds: number
  /** Ends the command early. */
  stop: AbortSignal
}

const MAX_OUTPUT = 4_000
const MARK = 'HEADWAY_CONFORMANCE'

/** Runs the command once, against a service that behaves as the scenario says. Raises the error with which it cannot start. */
export const play = async (scenario: Scenario, options: PlayOptions): Promise<Played> => {
  const { heartbeatIntervalMs = DEFAULT_INTERVAL_MS, onCall, clockMs } = scenario
  const service = await startBadService({
    heartbeatIntervalMs,
    onCall: (call, nth, itself) => onCall?.(call, nth, itself) ?? null,
    clockMs: () => clockMs?.(service.calls.length) ?? 0,
  })
  try {
    const { output, ...ended } = await runAgainst(service, options)
    const observed = { calls: service.calls, heartbeatIntervalMs, ...ended }
    const findings = scenario.rules.map(({ sentence: rule, judge }) => ({ rule, finding: judge(observed) }))
    return { scenario: scenario.name, sentence: scenario.sentence, findings, output }
  } finally {
    await service.close()
  }
}

/** Runs the command until it ends, and stops it when that takes too long. */
const runAgainst = async (
  service: BadService,
  { command, args, environment, seconds, stop }: PlayOptions,
): Promise<Pick<Observed, 'hasEnded' | 'exitCode' | 'endedAt'> & Pick<Played, 'output'>> => {
  const beganAt = performance.now()
  const mark = randomUUID()
  const hasGroup = process.platform !== 'win32'
  const child = spawn(command, args, {
    env: {
      ...environment,
      ...withoutProxy(environment),
      HEADWAY_URL: service.url,
      HEADWAY_TOKEN: service.token,
      HEADWAY_JOB_ID: service.jobId,
      HEADWAY_CONFORMANCE_SECONDS: String(seconds),
      [MARK]: mark,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: hasGroup,
  })
  let output = ''
  child.stderr.setEncoding('utf8')
  child.stderr.on('data', (text: string) => (output = (output + text).slice(-MAX_OUTPUT)))
  let hasEnded = true
  const family = child.pid === undefined ? null : new Family({ pid: child.pid, mark, hasGroup })
  const end = (): void => {
    hasEnded = false
    void family?.stop('SIGTERM', 1)
  }
  const impatience = setTimeout(end, seconds * 1000 + MORE_MS)
  stop.addEventListener('abort', end, { once: true })
  if (stop.aborted) end()
  try {
    const [exitCode] = (await once(child, 'exit')) as [number | null]
    const endedAt = performance.now() - beganAt
    // What it has left running would go on calling.
    await family?.stop('SIGTERM', 1)
    return { hasEnded, exitCode, endedAt, output: output.trim() }
  } finally {
    clearTimeout(impatience)
    stop.removeEventListener('abort', end)
    child.stderr.destroy()
  }
}
