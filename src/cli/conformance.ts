import { constants } from 'node:os'
import { InvalidArgumentError, type Command } from 'commander'
import { HeadwayError } from '../contract/errors.ts'
import { jsonLine, printable } from '../terminal/text.ts'
import { play, type Played } from './conformance/play.ts'
import { SCENARIOS, type Scenario } from './conformance/scenarios.ts'
import { parseDuration } from './duration.ts'
import { EXIT } from './exit-codes.ts'
import type { Surroundings } from './surroundings.ts'

interface ConformanceOptions {
  only?: string[]
  /** In seconds. */
  work: number
  jobs: number
  json?: true
}

const HELP = `
The command is run once for each way in which a service can behave badly, against a service of its own that does. It finds the job
to work on in HEADWAY_URL, HEADWAY_TOKEN and HEADWAY_JOB_ID, should report several times within HEADWAY_CONFORMANCE_SECONDS, and end
as it would anywhere. A command that makes its own job gets this one.

Exit codes: 0 every rule held, 1 some rule did not, 2 the call is wrong.

Ways: ${SCENARIOS.map(({ name }) => name).join(', ')}.

Examples:
  headway conformance -- bash -c 'exec bash worker.sh "$HEADWAY_JOB_ID"'
  headway conformance --only cancel --json -- python3 worker.py
`

const parseScenario = (name: string, before: string[] = []): string[] => {
  if (SCENARIOS.some(scenario => scenario.name === name)) return [...before, name]
  throw new InvalidArgumentError(`Choose among ${SCENARIOS.map(each => each.name).join(', ')}.`)
}

const parseJobs = (text: string): number => {
  const jobs = Number(text)
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 100) throw new InvalidArgumentError('Write a number from 1 to 100.')
  return jobs
}

/** Runs `work` for all items, at most `jobs` at a time, and begins no more once `stop` aborts. Answers in the order of the items. */
const inLanes = async <Item, Result>(
  items: readonly Item[],
  jobs: number,
  work: (item: Item) => Promise<Result>,
  stop: AbortSignal,
): Promise<Result[]> => {
  const results: Result[] = []
  const waiting = [...items.entries()]
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next && !stop.aborted; next = waiting.shift())
      results[next[0]] = await work(next[1])
  }
  await Promise.all(Array.from({ length: jobs }, lane))
  return results
}

/** Signals that ask this process to end. The commands have groups of their own, so a terminal does not tell them. */
const STOPPING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Aborts `stopping` at a signal, so that `work` can end what it has started. */
const untilStopped = async <Result>(
  stopping: AbortController,
  work: () => Promise<Result>,
): Promise<{ result: Result; stoppedBy: NodeJS.Signals | null }> => {
  let stoppedBy: NodeJS.Signals | null = null as NodeJS.Signals | null
  const onSignal = (signal: NodeJS.Signals): void => {
    stoppedBy ??= signal
    stopping.abort()
  }
  for (const signal of STOPPING) process.on(signal, onSignal)
  try {
    return { result: await work(), stoppedBy }
  } finally {
    for (const signal of STOPPING) process.removeListener(signal, onSignal)
  }
}

const isBroken = ({ finding }: Played['findings'][number]): boolean => typeof finding === 'string'

const linesOf = ({ scenario, sentence, findings, output }: Played): string[] => [
  `${scenario}: ${sentence}`,
  ...findings.map(({ rule, finding }) => {
    if (finding === null) return `  not tried  ${rule}`
    return finding === true ? `  held       ${rule}` : `  BROKEN     ${rule} ${printable(finding)}`
  }),
  ...(findings.some(isBroken) && output !== ''
    ? [
        '  It wrote:',
        ...output
          .split('\n')
          .slice(-5)
          .map(line => `    ${printable(line)}`),
      ]
    : []),
]

/** `headway conformance`: whether a worker does what a good worker does. */
export const addConformanceCommand = (program: Command, { environment, out, exit }: Surroundings): void => {
  program
    .command('conformance')
    .description('try a worker of your own against a service that behaves badly')
    .argument('<command...>', 'the worker and its arguments, after --')
    .passThroughOptions()
    .option('--only <way>', 'only this way of behaving; may be repeated', parseScenario)
    .option('--work <duration>', 'how long the command should work each time', parseDuration, 8)
    .option('--jobs <n>', 'how many run at a time', parseJobs, 4)
    .option('--json', 'print one line of JSON for each way')
    .addHelpText('after', HELP)
    .action(async ([command = '', ...args]: string[], { only, work, jobs, json }: ConformanceOptions) => {
      const wanted = SCENARIOS.filter(({ name }) => only?.includes(name) ?? true)
      const stopping = new AbortController()
      const run = (scenario: Scenario): Promise<Played> =>
        play(scenario, { command, args, environment, seconds: work, stop: stopping.signal }).catch((error: unknown) => {
          const { syscall = '', message } = error as NodeJS.ErrnoException
          if (!syscall.startsWith('spawn')) throw error
          throw new HeadwayError('validation_failed', `${command} could not be started: ${message}.`)
        })
      const { result: played, stoppedBy } = await untilStopped(stopping, () =>
        inLanes(wanted, jobs, run, stopping.signal),
      )
      if (stoppedBy !== null) {
        exit(128 + constants.signals[stoppedBy])
        return
      }
      for (const each of played) {
        const isHeld = !each.findings.some(isBroken)
        if (json) out(`${jsonLine({ ...each, held: isHeld })}\n`)
        else out(`${linesOf(each).join('\n')}\n\n`)
      }
      const findings = played.flatMap(each => each.findings)
      const broken = findings.filter(isBroken).length
      const held = findings.filter(({ finding }) => finding === true).length
      if (!json) out(`${held} held, ${broken} broken, ${findings.length - held - broken} not tried.\n`)
      exit(broken > 0 ? EXIT.failed : EXIT.ok)
    })
}
