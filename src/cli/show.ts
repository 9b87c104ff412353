import type { Command } from 'commander'
import type { Client } from '../node-client/client.ts'
import { type JobWithWorkers, type JobEvent, type Page } from '../contract/job.ts'
import { JOB_EVENT_TYPES } from '../contract/states.ts'
import { jobPage } from '../terminal/job-page.ts'
import { hasColours } from '../terminal/screen.ts'
import { jsonLine } from '../terminal/text.ts'
import { ask, connect, withConnection, type ConnectionOptions } from './connection.ts'
import type { Surroundings } from './surroundings.ts'

interface ShowOptions extends ConnectionOptions {
  json?: true
}

/** The most entries of one answer. */
const PAGE_SIZE = 1_000

/** How many changes are shown. */
const RECENT = 20

const EXAMPLES = `
Times are those of this machine's zone (TZ).

Examples:
  headway show 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55
  headway show --json 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55 | jq '.events[-1]'
`

/** The newest changes of a job without samples of progress, oldest first. */
const recentEvents = async (client: Client, path: string): Promise<JobEvent[]> => {
  const query = new URLSearchParams(
    JOB_EVENT_TYPES.filter(type => type !== 'progress').map((type): [string, string] => ['type', type]),
  )
  query.set('pageSize', String(PAGE_SIZE))
  const pageAt = (page: number): Promise<Page<JobEvent>> =>
    ask<Page<JobEvent>>(client, 'GET', `${path}/events?${query.toString()}&page=${page}`)
  const first = await pageAt(1)
  const last = Math.ceil(first.total / PAGE_SIZE)
  return (last > 1 ? (await pageAt(last)).items : first.items).slice(-RECENT)
}

/** `headway show`: prints everything about one job. */
export const addShowCommand = (program: Command, { environment, out }: Surroundings): void => {
  withConnection(program.command('show'))
    .description('show one job: its workers, times, error, result and history')
    .argument('<id>', 'the job')
    .option('--json', 'one JSON document, with workers and events')
    .addHelpText('after', EXAMPLES)
    .action(async (id: string, { json, ...options }: ShowOptions) => {
      const client = connect(options, environment)
      const path = `/jobs/${encodeURIComponent(id)}`
      const job = await ask<JobWithWorkers>(client, 'GET', path)
      const events = await recentEvents(client, path)
      const page = { job, events, nowMs: Date.now(), colour: hasColours(process.stdout) }
      out(json ? `${jsonLine({ ...job, events })}\n` : `${jobPage(page).join('\n')}\n`)
    })
}
