import type { Command } from 'commander'
import type { JobDocument } from '../contract/job.ts'
import { isFinished } from '../contract/states.ts'
import { printable } from '../terminal/text.ts'
import { RefusedError } from '../node-client/client.ts'
import { EXIT } from './exit-codes.ts'
import { ask, connect, withConnection, type ConnectionOptions } from './connection.ts'
import type { Surroundings } from './surroundings.ts'

const EXAMPLES = `
A running job is asked to stop; its worker hears of it with the next heartbeat.

Examples:
  headway cancel 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55
  headway cancel $ID && headway wait $ID
`

/** `headway cancel`: asks jobs to stop. */
export const addCancelCommand = (program: Command, { environment, out, err, exit }: Surroundings): void => {
  withConnection(program.command('cancel'))
    .description('ask jobs to stop')
    .argument('<id...>', 'the jobs')
    .addHelpText('after', EXAMPLES)
    .action(async (ids: string[], options: ConnectionOptions) => {
      const client = connect(options, environment)
      for (const id of ids) {
        try {
          const job = await ask<JobDocument>(client, 'POST', `/jobs/${encodeURIComponent(id)}/cancel`)
          out(`${printable(job.name)}: ${isFinished(job) ? job.status : 'asked to stop'}\n`)
        } catch (error) {
          // The other jobs are still asked to stop.
          if (!(error instanceof RefusedError)) throw error
          err(`${printable(`${id}: ${error.message}`)}\n`)
          exit(EXIT.usage)
        }
      }
    })
}
