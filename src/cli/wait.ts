import type { Command } from 'commander'
import { UnavailableError, type Client } from '../node-client/client.ts'
import type { JobWithWorkers } from '../contract/job.ts'
import { outcomeOf } from '../terminal/job.ts'
import { ring } from '../terminal/ring.ts'
import { isFinished } from '../contract/states.ts'
import { jsonLine, printable } from '../terminal/text.ts'
import { connect, withConnection, type ConnectionOptions } from './connection.ts'
import { parseDuration } from './duration.ts'
import { codeOf, EXIT, EXIT_CODES_HELP } from './exit-codes.ts'
import type { Surroundings } from './surroundings.ts'

interface WaitOptions extends ConnectionOptions {
  /** In seconds. */
  timeout?: number
  notify?: true
  json?: true
}

/** How long the service holds each answer, unless the job finishes before. */
const HOLD_SECONDS = 30

const EXAMPLES = `
Examples:
  headway wait 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55 && deploy
  headway wait --notify 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55
  headway wait --timeout 10m --json 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55 | jq .resultSummary
`

/** The job once it has finished; null when `signal` aborts first. */
const untilFinished = async (
  client: Client,
  id: string,
  signal: AbortSignal,
  err: (text: string) => void,
): Promise<JobWithWorkers | null> => {
  let isTold = false
  const onUnavailable = ({ message }: UnavailableError): void => {
    if (!isTold) err(`${printable(message)} Trying again.\n`)
    isTold = true
  }
  const path = `/jobs/${encodeURIComponent(id)}?until=finished`
  const options = {
    headers: { prefer: `wait=${HOLD_SECONDS}` },
    timeoutMs: (HOLD_SECONDS + 15) * 1000,
    signal,
    onUnavailable,
  }
  try {
    for (;;) {
      const job = await client.persist<JobWithWorkers>('GET', path, options)
      if (isFinished(job)) return job
    }
  } catch (error) {
    if (signal.aborted) return null
    throw error
  }
}

/** `headway wait`: returns when a job has finished. */
export const addWaitCommand = (program: Command, surroundings: Surroundings): void => {
  const { environment, out, err, errIsTerminal = false, exit } = surroundings
  withConnection(program.command('wait'))
    .description('wait until a job has finished')
    .argument('<id>', 'the job')
    .option('--timeout <duration>', 'wait no longer than this: 90s, 15m, 1h', parseDuration)
    .option('--notify', 'ring the terminal at the end, and let it show a notification, if stderr is one')
    .option('--json', 'print the job as JSON')
    .addHelpText('after', `${EXIT_CODES_HELP}${EXAMPLES}`)
    .action(async (id: string, options: WaitOptions) => {
      const { timeout, json, notify = false } = options
      const say = (text: string): void => {
        if (notify && errIsTerminal) err(ring(text, environment))
      }
      const signal = timeout === undefined ? new AbortController().signal : AbortSignal.timeout(timeout * 1000)
      const client = connect(options, environment)
      const job = await untilFinished(client, id, signal, err)
      if (!job) {
        // A service that cannot be reached at all is an error, and not a job that takes long.
        await client.call('GET', `/jobs/${encodeURIComponent(id)}/progress`).catch((error: unknown) => {
          if (error instanceof UnavailableError) throw error
        })
        err('The job has not finished yet.\n')
        say(`${id} has not finished yet`)
        exit(EXIT.timeout)
        return
      }
      const said = `${printable(job.name)}: ${outcomeOf(job)}`
      out(json ? `${jsonLine(job)}\n` : `${said}\n`)
      say(said)
      exit(codeOf([job.status]))
    })
}
