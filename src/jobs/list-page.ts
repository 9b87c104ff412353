import type { SQL } from 'drizzle-orm'
import { and, isNotNull, isNull, or, sql } from '../database/drizzle.ts'
import { progressJobs } from '../database/schema.ts'
import type { Scope } from './identity.ts'
import type { ListPosition } from './list-cursor.ts'
import { findByName, nameHolds, type NameSearch } from './list-search.ts'
import { hasSameFilters, sourcesOf, sourcesWithin, widerThan, type ListSources } from './list-sources.ts'
import type { ListJobs } from './use-cases.ts'

/** No more jobs are looked at to count those of a list, because counting millions of rows would slow every list. */
export const MAX_TOTAL = 10_000

const SORT_COLUMNS = {
  createdAt: { column: progressJobs.createdAt, type: 'timestamptz' },
  startedAt: { column: progressJobs.startedAt, type: 'timestamptz' },
  finishedAt: { column: progressJobs.finishedAt, type: 'timestamptz' },
  priority: { column: progressJobs.priority, type: 'integer' },
  partitionIndex: { column: progressJobs.partitionIndex, type: 'integer' },
} as const

/** What a page is selected by. */
export interface PageParts {
  scope: Scope
  query: ListJobs
  after: ListPosition | null
  /** How many rows are taken from the beginning, those that are skipped included. */
  most: number
}

const union = (selects: SQL[]): SQL => sql.join(selects, sql` UNION ALL `)

const orderOfSpans = ({ key, descending }: ListJobs['sort']): NameSearch['spans'] => {
  if (key === 'finishedAt') return descending ? 'newest' : 'oldest'
  return descending && (key === 'createdAt' || key === 'startedAt') ? 'latest' : null
}

export const directionOf = ({ descending }: ListJobs['sort']): SQL => (descending ? sql`DESC` : sql`ASC`)

const withName = (filter: SQL, text: string | undefined): SQL =>
  text === undefined ? filter : sql`${and(filter, nameHolds(text))}`

/** Whether a job of any source may lack the value. Active jobs have no `finishedAt`, and finished ones always have one. */
const mayLack = ({ key }: ListJobs['sort']): boolean => key === 'startedAt' || key === 'partitionIndex'

/** Those jobs of the sources that have the value to sort by, or those that lack it. */
interface Half extends Pick<NameSearch, 'beyond' | 'value' | 'isIndexed' | 'spans' | 'after'> {
  condition: SQL | undefined
}

/** One statement for each source. */
const selectsOf = (
  { active, finished, search }: ListSources,
  { scope, query, most }: PageParts,
  { condition, ...half }: Half,
): SQL[] => {
  const select = (filter: SQL) =>
    sql`SELECT id, ${half.value} AS value FROM ${progressJobs} WHERE ${and(filter, condition, half.beyond)}`
  const find = (filter: SQL) =>
    search === undefined
      ? select(filter)
      : findByName({
          ...half,
          text: search,
          tenantId: scope.tenantId,
          filter: sql`${and(filter, condition)}`,
          type: sql.raw(SORT_COLUMNS[query.sort.key].type),
          direction: directionOf(query.sort),
          most,
          since: query.completedSince,
          before: query.completedBefore,
        })
  return [...(active === null ? [] : [select(withName(active, search))]), ...finished.map(find)]
}

/** The jobs that have the value to sort by, in order; null: the list has none. */
const withValue = (sources: ListSources, parts: PageParts): SQL | null => {
  const { query, after, most } = parts
  const { sort } = query
  const { column, type } = SORT_COLUMNS[sort.key]
  if (after?.value === null) return null
  // Without NULLS LAST: an index that is read backwards would not have that order, and there are no nulls.
  const direction = directionOf(sort)
  const order = sql`ORDER BY value ${direction}, id ${direction} LIMIT ${most}`
  const isByEnd = sort.key === 'finishedAt'
  const selects = selectsOf({ ...sources, active: isByEnd ? null : sources.active }, parts, {
    condition: mayLack(sort) ? isNotNull(column) : undefined,
    beyond:
      after === null
        ? undefined
        : sql`(${column}, ${progressJobs.id}) ${sort.descending ? sql`<` : sql`>`} (${after.value}::${sql.raw(type)}, ${after.id}::uuid)`,
    value: sql`${column}`,
    isIndexed: !mayLack(sort),
    spans: orderOfSpans(sort),
    after: isByEnd ? ((after?.value ?? null) as string | null) : null,
  })
  if (selects.length === 0) return null
  // Each source is limited: given their union alone, the planner does not merge a source in order with one that has to be sorted.
  return sql`SELECT id, value FROM (${union(selects.map(each => sql`(${each} ${order})`))}) AS jobs ${order}`
}

/** The jobs without the value to sort by, which come last in both directions; null: there is none. */
const withoutValue = (sources: ListSources, parts: PageParts, limit: SQL): SQL | null => {
  const { query, after } = parts
  const { sort } = query
  const { column, type } = SORT_COLUMNS[sort.key]
  const direction = directionOf(sort)
  const lacking = {
    ...sources,
    active: mayLack(sort) || sort.key === 'finishedAt' ? sources.active : null,
    finished: mayLack(sort) ? sources.finished : [],
  }
  const selects = selectsOf(lacking, parts, {
    condition: isNull(column),
    beyond:
      after?.value === null
        ? sql`${progressJobs.id} ${sort.descending ? sql`<` : sql`>`} ${after.id}::uuid`
        : undefined,
    value: sql`NULL::${sql.raw(type)}`,
    isIndexed: false,
    spans: null,
    after: null,
  })
  if (selects.length === 0) return null
  return sql`SELECT id, value FROM (${union(selects.map(each => sql`(${each})`))}) AS jobs ORDER BY id ${direction} LIMIT ${limit}`
}

const NONE = sql`SELECT NULL::uuid AS id, NULL::integer AS value WHERE false`

/** The ids of the first `most` jobs in order, as a list of common table expressions that ends with `listed`. */
export const listedIds = (sources: ListSources, parts: PageParts): SQL => {
  const first = withValue(sources, parts)
  // Postgres does not look for jobs without a value where the limit is 0.
  const left = first === null ? sql`${parts.most}` : sql`${parts.most} - (SELECT count(*) FROM first)`
  const last = withoutValue(sources, parts, left)
  if (first === null || last === null)
    return sql`listed AS (SELECT 0 AS place, id, value FROM (${first ?? last ?? NONE}) AS jobs)`
  return sql`first AS MATERIALIZED (${first}),
    listed AS (
      SELECT 0 AS place, id, value FROM first
      UNION ALL
      SELECT 1, id, value FROM (${last}) AS jobs
    )`
}

/** The conditions of the sources as they are written down, which read each job. */
const filtersOf = ({ active, finished, search }: ListSources): SQL[] =>
  [...(active === null ? [] : [active]), ...finished].map(filter => withName(filter, search))

/**
 * A SELECT of `shown` for each source, in the order of the index that has the jobs. Told no order, the planner reads the table from its
 * beginning, past the jobs of other tenants and other outcomes, because it takes those that are wanted to be everywhere. The oldest
 * come first: of them, vacuum has noted that all transactions see them, so that the index alone tells.
 */
const countedOf = (scope: Scope, query: ListJobs, shown: SQL): SQL[] => {
  const { active, ...sources } = sourcesOf(scope, query)
  // A batch or one job: few jobs, in no order that an index has.
  const isFew = query.parentJobId !== undefined || scope.jobId !== null
  const byEnd = query.startedByUserId === undefined ? sql`finished_at` : sql`created_at`
  const select = (filter: SQL, column: SQL) =>
    sql`SELECT * FROM (
      SELECT ${shown} FROM ${progressJobs} WHERE ${filter} ${isFew ? sql`` : sql`ORDER BY ${column}`} LIMIT ${MAX_TOTAL}
    ) AS jobs`
  return [
    ...filtersOf({ ...sources, active, finished: [] }).map(filter => select(filter, sql`created_at`)),
    ...filtersOf({ ...sources, active: null }).map(filter => select(filter, byEnd)),
  ]
}

/**
 * How many jobs the list has, of up to 10,000 that an index has with most of its filters, and how many were looked at. If these
 * were fewer than 10,000, the count is exact.
 */
export const countOf = (scope: Scope, query: ListJobs): SQL => {
  if (filtersOf(sourcesOf(scope, query)).length === 0) return sql`SELECT 0 AS total, 0 AS looked`
  const wider = widerThan(scope, query)
  const wanted = filtersOf(sourcesWithin(scope, wider, query))
  // Without a column of its own, so that an index alone tells the number.
  const isAll = hasSameFilters(query, wider)
  const selects = countedOf(scope, wider, isAll ? sql`` : sql`(${or(...wanted)}) AS wanted`)
  return sql`
    SELECT ${isAll ? sql`count(*)` : sql`count(*) FILTER (WHERE wanted)`}::integer AS total, count(*)::integer AS looked
    FROM (${union(selects)} LIMIT ${MAX_TOTAL}) AS counted`
}
