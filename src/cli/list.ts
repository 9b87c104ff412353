import { InvalidArgumentError, type Command } from 'commander'
import { type ListedJob, type Page } from '../contract/job.ts'
import { JOB_STATUSES } from '../contract/states.ts'
import { currentOf, factsOf, reasonOf, stateOf } from '../terminal/job.ts'
import { jsonLine, padded, printable, shorten, widthOf } from '../terminal/text.ts'
import { ask, connect, withConnection, type ConnectionOptions } from './connection.ts'
import type { Surroundings } from './surroundings.ts'

interface ListOptions extends ConnectionOptions {
  all?: true
  status?: string[]
  type?: string
  search?: string
  startedBy?: string
  limit: number
  json?: true
}

const NAME_WIDTH = 40

const EXAMPLES = `
Examples:
  headway list                          what is pending and running
  headway list --all --type import      imports, finished ones too
  headway list --status failed          what went wrong, and why
  headway watch $(headway list --json | jq -r .id)
`

const parseLimit = (text: string): number => {
  const limit = Number(text)
  if (!Number.isInteger(limit) || limit < 1 || limit > 100)
    throw new InvalidArgumentError('Write a number from 1 to 100.')
  return limit
}

const parseStatus = (status: string, before: string[] = []): string[] => {
  if ((JOB_STATUSES as readonly string[]).includes(status)) return [...before, status]
  throw new InvalidArgumentError(`Choose among ${JOB_STATUSES.join(', ')}.`)
}

const queryOf = ({ all, status = [], type, search, startedBy, limit }: ListOptions): URLSearchParams => {
  const query = new URLSearchParams(status.map((each): [string, string] => ['status', each]))
  if (all) query.set('includeCompleted', 'true')
  if (type !== undefined) query.set('jobType', type)
  if (search !== undefined) query.set('search', search)
  if (startedBy !== undefined) query.set('startedByUserId', startedBy)
  query.set('pageSize', String(limit))
  return query
}

/** Aligns columns. The last column is not padded. */
const table = (rows: readonly (readonly string[])[]): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => widthOf(row[column] ?? ''))))
  return rows
    .map(
      row =>
        `${row
          .map((cell, column) => padded(cell, widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

const rowOf = (job: ListedJob): string[] => [
  job.id,
  stateOf(job),
  `${job.progressPercent} %`,
  shorten(printable(job.name), NAME_WIDTH),
  [
    // Why the job has failed is what people look for.
    ...(job.status === 'failed' ? [reasonOf(job)] : []),
    ...factsOf(job, Date.now() - Date.parse(job.updatedAt)),
    currentOf(job),
  ]
    .filter(text => text !== '')
    .join(', '),
]

/** `headway list`: the jobs of a service, newest first. */
export const addListCommand = (program: Command, { environment, out, err }: Surroundings): void => {
  withConnection(program.command('list'))
    .description('show jobs: those that are pending or running')
    .option('-a, --all', 'finished ones too')
    .option('--status <status>', 'only those; may be repeated', parseStatus)
    .option('--type <jobType>', 'only those of this type')
    .option('--search <text>', 'only those with this text in their name')
    .option('--started-by <userId>', 'only those that this user has begun')
    .option('--limit <n>', 'how many, at most 100', parseLimit, 20)
    .option('--json', 'one JSON document a line')
    .addHelpText('after', EXAMPLES)
    .action(async (options: ListOptions) => {
      const page = await ask<Page<ListedJob>>(
        connect(options, environment),
        'GET',
        `/jobs?${queryOf(options).toString()}`,
      )
      if (options.json) out(page.items.map(job => `${jsonLine(job)}\n`).join(''))
      else if (page.items.length === 0) err('No jobs.\n')
      else out(table([['ID', 'STATUS', 'DONE', 'NAME', ''], ...page.items.map(rowOf)]))
      if (!options.json && page.total > page.items.length)
        err(`${page.items.length} of ${page.total} jobs: see --limit.\n`)
    })
}
