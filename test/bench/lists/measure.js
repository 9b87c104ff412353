// The lists by name, as the callers ask for them, and how long each takes.
import { performance } from 'node:perf_hooks'
import { openDatabase } from '../../../dist/database/connection.js'
import { createJobRepository } from '../../../dist/jobs/repository.js'
import { LARGE_TENANT, SMALL_ORGANIZATION, SMALL_TENANT } from './fill.js'

const FINISHED = ['completed', 'failed', 'cancelled']
const scope = { actor: null, tenantId: LARGE_TENANT, allOrganizations: true, organizationId: null, jobId: null }
const small = { ...scope, tenantId: SMALL_TENANT }
const ofOrganization = { ...scope, allOrganizations: false, organizationId: SMALL_ORGANIZATION }
const ofNone = { ...scope, allOrganizations: false }

const sortOf = text => ({ key: text.replace('-', ''), descending: text.startsWith('-') })
const history = more => ({ status: FINISHED, topLevel: true, sort: '-finishedAt', pageSize: 50, ...more })
const command = more => ({ sort: '-createdAt', pageSize: 20, ...more })
const api = (sort, more) => ({ includeCompleted: true, sort, pageSize: 100, ...more })

/** Each as [name, what the caller asks for, its scope if it is another]. */
const LISTS = [
  ['dashboard: history', history()],
  ['dashboard: recent', history({ pageSize: 12 })],
  ['dashboard: completed', history({ status: ['completed'] })],
  ['dashboard: failed', history({ status: ['failed'] })],
  ['dashboard: cancelled', history({ status: ['cancelled'] })],
  ['dashboard: late', history({ deadline: ['overdue'] })],
  ['dashboard: unusual', history({ unusual: true })],
  ['dashboard: common type', history({ jobType: 'import' })],
  ['dashboard: rare type', history({ jobType: 'audit' })],
  ['dashboard: former type', history({ jobType: 'archive' })],
  ['dashboard: no such type', history({ jobType: 'none' })],
  ['dashboard: common type, failed long ago', history({ jobType: 'import', status: ['failed'] })],
  ['dashboard: common word', history({ search: 'products' })],
  ['dashboard: rare word', history({ search: 'zeppelin' })],
  ['dashboard: part of a name', history({ search: 'lobex 3c59' })],
  ['dashboard: former word', history({ search: 'archive of' })],
  ['dashboard: no such word', history({ search: 'qqqqqq' })],
  ['dashboard: two characters, none', history({ search: 'qq' })],
  ['dashboard: rare word, failed', history({ search: 'zeppelin', status: ['failed'] })],
  ['dashboard: history, page 20', history({ page: 20 })],
  ['dashboard: history, page 200', history({ page: 200 })],
  ['dashboard: active', history({ status: ['running', 'pending'], sort: '-createdAt' })],
  ['dashboard: total of the active', { topLevel: true, sort: '-createdAt', pageSize: 1 }],
  ['command: list', command()],
  ['command: list --all', command({ includeCompleted: true })],
  ['command: list --status failed', command({ status: ['failed'] })],
  ['command: list --all --type audit', command({ includeCompleted: true, jobType: 'audit' })],
  ['command: list --all --type archive', command({ includeCompleted: true, jobType: 'archive' })],
  ['command: list --all --search zeppelin', command({ includeCompleted: true, search: 'zeppelin' })],
  ['command: list --all --search products', command({ includeCompleted: true, search: 'products' })],
  ['command: list --search products', command({ search: 'products' })],
  ['command: list --all --started-by nightly', command({ includeCompleted: true, startedByUserId: 'nightly' })],
  ['command: list --all --started-by anna', command({ includeCompleted: true, startedByUserId: 'anna' })],
  ['command: list --all --deadline overdue', command({ includeCompleted: true, deadline: ['overdue'] })],
  ['command: list --all --unusual', command({ includeCompleted: true, unusual: true })],
  ['assistant: list_jobs', command({ topLevel: true })],
  ['assistant: list_jobs, finished ones too', command({ topLevel: true, includeCompleted: true })],
  ['assistant: list_jobs, failed', command({ topLevel: true, status: ['failed'] })],
  ['page: just finished', { completedSince: new Date(Date.now() - 3_600_000), sort: '-createdAt', pageSize: 100 }],
  ['API: since a year', { completedSince: new Date(Date.now() - 365 * 86_400_000), sort: '-createdAt', pageSize: 100 }],
  [
    'API: since a year, last first',
    { completedSince: new Date(Date.now() - 365 * 86_400_000), sort: '-finishedAt', pageSize: 100 },
  ],
  ['API: failed or cancelled', api('-finishedAt', { status: ['failed', 'cancelled'] })],
  ['API: running or failed', api('-createdAt', { status: ['running', 'failed'] })],
  ...['createdAt', 'startedAt', '-startedAt', 'finishedAt', '-finishedAt', 'priority', '-priority'].map(sort => [
    `API: all by ${sort}`,
    api(sort),
  ]),
  ['API: finished by -priority', api('-priority', { status: FINISHED })],
  ['API: one organization', api('-createdAt', { organizationId: SMALL_ORGANIZATION })],
  ['API: history of one organization', history({ organizationId: SMALL_ORGANIZATION })],
  ["an organization's user: history", history(), ofOrganization],
  ["an organization's user: list --all", command({ includeCompleted: true }), ofOrganization],
  ['a user without organization: history', history(), ofNone],
  ['a small tenant: history', history(), small],
  ['a small tenant: common word', history({ search: 'products' }), small],
  ['a small tenant: a word that others have', history({ search: 'part 1' }), small],
]

const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

/** How many ms `read` takes. A list that takes seconds is not asked for twenty times. */
const measure = async (times, read) => {
  const durations = []
  let found = null
  for (let n = 0, spentMs = 0; n < times && spentMs < 3_000; n += 1) {
    const startedMs = performance.now()
    found = await read()
    durations.push(performance.now() - startedMs)
    spentMs += durations.at(-1)
  }
  durations.sort((a, b) => a - b)
  return { found, median: percentile(durations, 0.5).toFixed(1), p95: percentile(durations, 0.95).toFixed(1) }
}

/** Prints the milliseconds of each list, and of its following pages by cursor. */
export const measureLists = async (url, { times, only }) => {
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined })
  const repository = createJobRepository(database)
  console.log('\n  median     p95  median     p95   items   total\n   first    page    next    page, ms')
  for (const [name, { sort, ...query }, of = scope] of LISTS) {
    if (!name.includes(only)) continue
    const ask = { page: 1, sort: sortOf(sort), ...query }
    const first = await measure(times, () => repository.list(of, ask))
    const { next } = first.found
    const later = next && (await measure(times, () => repository.list(of, { ...ask, cursor: next })))
    const { items, total } = first.found
    const columns = [first.median, first.p95, later?.median ?? '', later?.p95 ?? '', items.length, total]
    console.log(`${columns.map(column => String(column).padStart(8)).join('')}  ${name}`)
  }
  await database.close()
}
