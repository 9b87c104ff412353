import { InvalidArgumentError, Option, type Command } from 'commander'
import type { JobPage, ListedJob } from '../contract/job.ts'
import { DEADLINES, JOB_STATUSES } from '../contract/states.ts'
import type { JobFilters } from '../contract/requests.ts'
import { currentOf, factsOf, reasonOf, stateOf } from '../terminal/job.ts'
import { jsonLine, padded, printable, shorten, widthOf } from '../terminal/text.ts'
import { ask, connect, withConnection, type ConnectionOptions } from './connection.ts'
import type { Surroundings } from './surroundings.ts'

interface ListOptions extends ConnectionOptions, Record<string, unknown> {
  limit: number
  json?: true
}

const NAME_WIDTH = 40
/** The service answers no more at once; the next ones come by `next`. */
const PAGE_SIZE = 100
const MAX_LIMIT = 10_000

const EXAMPLES = `
Examples:
  headway list                          what is pending and running
  headway list --all --type import      imports, finished ones too
  headway list --status failed          what went wrong, and why
  headway list --deadline overdue       what should have finished by now
  headway watch $(headway list --json | jq -r .id)
`

const parseLimit = (text: string): number => {
  const limit = Number(text)
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT)
    throw new InvalidArgumentError('Write a number from 1 to 10000.')
  return limit
}

const oneOf =
  <Value extends string>(values: readonly Value[]) =>
  (text: string, before: readonly Value[] = []): Value[] => {
    const value = values.find(each => each === text)
    if (value === undefined) throw new InvalidArgumentError(`Choose among ${values.join(', ')}.`)
    return [...before, value]
  }

/** The filters of REST, by name, and the options that stand for them. */
const createFilters = (): [name: keyof JobFilters, option: Option][] => [
  ['includeCompleted', new Option('-a, --all', 'finished ones too')],
  ['status', new Option('--status <status>', 'only those; may be repeated').argParser(oneOf(JOB_STATUSES))],
  [
    'deadline',
    new Option('--deadline <deadline>', 'only those at_risk, overdue or on_time; may be repeated').argParser(
      oneOf(DEADLINES),
    ),
  ],
  ['unusual', new Option('--unusual', 'only those that take longer than usual')],
  ['jobType', new Option('--type <jobType>', 'only those of this type')],
  ['search', new Option('--search <text>', 'only those with this text in their name')],
  ['startedByUserId', new Option('--started-by <userId>', 'only those that this user has begun')],
]

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
  const filters = createFilters()
  const queryOf = (options: ListOptions): URLSearchParams => {
    const query = new URLSearchParams({ pageSize: String(Math.min(options.limit, PAGE_SIZE)) })
    for (const [name, option] of filters) {
      const value = options[option.attributeName()] as true | string | string[] | undefined
      if (value !== undefined) for (const each of [value].flat()) query.append(name, String(each))
    }
    return query
  }
  /** Up to `limit` jobs, page by page, and what the first page says of all. */
  const read = async (options: ListOptions): Promise<JobPage> => {
    const client = connect(options, environment)
    const query = queryOf(options)
    const first = await ask<JobPage>(client, 'GET', `/jobs?${query.toString()}`)
    const items = [...first.items]
    let { next } = first
    // A service before 0.3 answers no `next`.
    while (next && items.length < options.limit) {
      query.set('cursor', next)
      const page = await ask<JobPage>(client, 'GET', `/jobs?${query.toString()}`)
      items.push(...page.items)
      next = page.next
    }
    return { ...first, items: items.slice(0, options.limit), next }
  }
  const command = withConnection(program.command('list')).description('show jobs: those that are pending or running')
  for (const [, option] of filters) command.addOption(option)
  command
    .option('--limit <n>', 'how many, at most 10000', parseLimit, 20)
    .option('--json', 'one JSON document a line')
    .addHelpText('after', EXAMPLES)
    .action(async (options: ListOptions) => {
      const page = await read(options)
      if (options.json) out(page.items.map(job => `${jsonLine(job)}\n`).join(''))
      else if (page.items.length === 0) err('No jobs.\n')
      else out(table([['ID', 'STATUS', 'DONE', 'NAME', ''], ...page.items.map(rowOf)]))
      const total = page.total ?? 0
      const isMore = page.next !== null || total > page.items.length
      if (!options.json && isMore)
        err(`${page.items.length} of ${page.totalIsExact ? '' : 'more than '}${total} jobs: see --limit.\n`)
    })
}
