// Every list of finished jobs that has an index: its pages read their own rows and no others, however many jobs there are.
import { cursorAfter } from '../../../dist/jobs/list-cursor.js'
import { createJobRepository } from '../../../dist/jobs/repository.js'
import { SCOPE } from './entry.js'
import { TENANT } from './world.js'

const PAGE_SIZE = 50
const HOUR_MS = 3_600_000
const ago = hours => new Date(Date.now() - hours * HOUR_MS)

const OUTCOMES = [
  ['completed', 'failed', 'cancelled'],
  ['completed'],
  ['failed'],
  ['cancelled'],
  ['failed', 'cancelled'],
]
const PLACES = [{}, { topLevel: true }]
const FILTERS = [{}, { jobType: 'import:products' }, { completedSince: ago(480), completedBefore: ago(2) }]

/** By their end: each outcome with each other filter. */
const BY_END = OUTCOMES.flatMap(status =>
  PLACES.flatMap(place => FILTERS.map(filter => ({ status, ...place, ...filter }))),
)

/** By their creation: what is rare among the jobs of a tenant. */
const BY_CREATION = [
  ...[['failed'], ['cancelled'], ['failed', 'cancelled']].map(status => ({ status })),
  { status: ['completed', 'failed', 'cancelled'], jobType: 'import:products' },
]

const nameOf = ({ sort, cursor, ...filters }) =>
  `${cursor === undefined ? 'first' : 'later'} page by ${sort.descending ? '-' : ''}${sort.key} of ${JSON.stringify(filters)}`

const pagesOf = (key, filters) =>
  [true, false].flatMap(descending => {
    const sort = { key, descending }
    const first = { includeCompleted: true, sort, page: 1, pageSize: PAGE_SIZE, ...filters }
    return [first, { ...first, cursor: cursorAfter(sort, { [key]: ago(240).toISOString(), id: TENANT }) }]
  })

const QUERIES = [
  // With active jobs: only later pages, because a total counts those in the table.
  ...pagesOf('finishedAt', {}).filter(({ cursor }) => cursor !== undefined),
  ...BY_END.flatMap(filters => pagesOf('finishedAt', filters)),
  ...BY_CREATION.flatMap(filters => pagesOf('createdAt', filters)),
]

const worst = (counted, figure) => {
  const [[name, value]] = [...counted]
    .map(([name, { tables }]) => [name, tables.progress_jobs[figure]])
    .sort(([, one], [, other]) => other - one)
  return { value, detail: name }
}

/** What was counted of each page, by a name that says which it is, and the findings. */
export const checkLists = async ({ database, count }) => {
  const repository = createJobRepository(database)
  const counted = new Map()
  for (const query of QUERIES) counted.set(nameOf(query), await count(() => repository.list(SCOPE, query)))
  const rows = worst(counted, 'read')
  return {
    counted,
    findings: [
      {
        name: 'rows of progress_jobs read by a page of finished jobs, per job of the page',
        ...rows,
        value: rows.value / PAGE_SIZE,
      },
      { name: 'pages of progress_jobs touched by a page of finished jobs and its total', ...worst(counted, 'pages') },
    ],
  }
}
