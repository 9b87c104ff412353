import type { SQL } from 'drizzle-orm'
import { and, gte, lt, sql } from '../database/drizzle.ts'
import { hasKeys, nameQueryTemplate, SPAN_SECONDS, spanOf } from '../database/name-keys.ts'
import { progressJobs } from '../database/schema.ts'

/** `%`, `_` and `\` in a search text are ordinary characters. */
export const escapeLike = (text: string): string => text.replace(/[\\%_]/g, '\\$&')

/** Whether the name holds the text. */
export const nameHolds = (text: string): SQL => sql`${progressJobs.name} ILIKE ${`%${escapeLike(text)}%`}`

/**
 * Jobs of a source that are looked at in the order of the list before the index of names is asked. A text that fewer than one in
 * twenty of these jobs have is rare enough for the index.
 */
const WALKED = 1_000

export interface NameSearch {
  text: string
  tenantId: string
  /** The condition of the source, without the text and without `beyond`. */
  filter: SQL
  /** The condition that a job comes after the page before; undefined: this is the first page. */
  beyond: SQL | undefined
  /** What the list is sorted by, and its type. */
  value: SQL
  type: SQL
  direction: SQL
  /** How many rows are wanted. */
  most: number
  /** Whether an index has the source in the order of the list. */
  isIndexed: boolean
  /**
   * How the value limits the spans of time in which a job may have finished. `latest`: it finished at the value or later, and the
   * latest value comes first. `newest` and `oldest`: the value is the time at which it finished. null: not at all.
   */
  spans: 'latest' | 'newest' | 'oldest' | null
  /** The time of the job before the page, if `spans` is `newest` or `oldest`. */
  after: string | null
  since: Date | undefined
  before: Date | undefined
}

/** The spans in which finished jobs of the tenant may be, and in which order they are looked at. */
const spansOf = ({ tenantId, spans, after, since, before }: NameSearch): { first: SQL; last: SQL; step: SQL } => {
  const end = (edge: 'min' | 'max') =>
    sql`(SELECT ${sql.raw(edge)}(finished_at) FROM ${progressJobs} WHERE tenant_id = ${tenantId}::uuid AND finished_at IS NOT NULL)`
  const limit = (value: Date | string | null | undefined) => sql`${value ?? null}::timestamptz`
  // Nulls do not count: there is no page before, or no such filter.
  const oldest = spanOf(sql`greatest(${end('min')}, ${limit(since)}, ${limit(spans === 'oldest' ? after : null)})`)
  const newest = spanOf(sql`least(${end('max')}, ${limit(before)}, ${limit(spans === 'newest' ? after : null)})`)
  return spans === 'oldest'
    ? { first: oldest, last: newest, step: sql`1` }
    : { first: newest, last: oldest, step: sql`-1` }
}

/** Whether the rows that were found come before all that may be found in further spans. `span` is the next one. */
const isEnough = ({ spans, most }: NameSearch): SQL => {
  if (spans === null) return sql`false`
  const full = sql`cardinality(spans.ids) = ${most}::integer`
  if (spans === 'oldest') return full
  // One span more by times before the end: where the clock was set back meanwhile, a job has finished before it was started.
  const margin = spans === 'latest' ? sql`2` : sql`1`
  return sql`${full} AND spans."values"[${most}::integer] >= to_timestamp((spans.span + ${margin}) * ${sql.raw(String(SPAN_SECONDS))}::float8)`
}

/** Rows of one span, found by the index of names. */
const inSpan = ({ text, tenantId, filter, beyond, value }: NameSearch, span: SQL): SQL => {
  const start = (of: SQL) => sql`to_timestamp((${of}) * ${sql.raw(String(SPAN_SECONDS))}::float8)`
  const within = and(
    filter,
    beyond,
    nameHolds(text),
    gte(progressJobs.finishedAt, start(span)),
    lt(progressJobs.finishedAt, start(sql`${span} + 1`)),
  )
  // OFFSET 0: the planner knows nothing of how rare a text is. It would read all jobs of the span by another index, and look for them
  // among the candidates.
  return sql`SELECT found.id, found.value
    FROM (
      SELECT ctid AS place FROM ${progressJobs}
      WHERE finished_at IS NOT NULL AND ${hasKeys(sql`(SELECT template FROM template)`, tenantId, span)} OFFSET 0
    ) AS candidates CROSS JOIN LATERAL (
      SELECT id, ${value} AS value FROM ${progressJobs} WHERE progress_jobs.ctid = candidates.place AND ${within} OFFSET 0
    ) AS found`
}

/**
 * A SELECT of `id` and `value` that answers the first `most` finished jobs of a source whose names hold a text, and possibly
 * others after them. It looks at some jobs in the order of the list. If these do not fill the page, the text is rare, and the
 * index of names finds it, one span of time after the other, until no further span can have a job that comes before those found.
 * So neither a rare text nor a common one reads many jobs, and neither does one that was common long ago.
 */
export const findByName = (search: NameSearch): SQL => {
  const { text, filter, beyond, value, type, direction, most, isIndexed } = search
  const { first, last, step } = spansOf(search)
  const order = sql`ORDER BY value ${direction}, id ${direction}`
  const walked = isIndexed ? WALKED : 0
  return sql`
    WITH RECURSIVE walked AS MATERIALIZED (
      SELECT id, value, hit FROM (
        SELECT id, ${value} AS value, ${nameHolds(text)} AS hit FROM ${progressJobs}
        WHERE ${and(filter, beyond)} ${order} LIMIT ${walked}
      ) AS jobs
    ),
    template AS MATERIALIZED (${nameQueryTemplate(text)}),
    sought AS MATERIALIZED (SELECT count(*) = ${walked} AND count(*) FILTER (WHERE hit) < ${most} AS further FROM walked),
    spans AS (
      SELECT ${first} AS span, '{}'::uuid[] AS ids, '{}'::${type}[] AS "values" WHERE (SELECT further FROM sought)
      UNION ALL
      SELECT spans.span + ${step}, merged.ids, merged."values"
      FROM spans CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(id ${order}), '{}') AS ids, coalesce(array_agg(value ${order}), '{}') AS "values"
        FROM (
          SELECT id, value FROM (
            SELECT * FROM unnest(spans.ids, spans."values") AS before (id, value)
            UNION ALL
            ${inSpan(search, sql`spans.span`)}
          ) AS found ${order} LIMIT ${most}
        ) AS best
      ) AS merged
      WHERE (spans.span - ${last}) * ${step} <= 0 AND NOT (${isEnough(search)})
    )
    SELECT id, value FROM walked WHERE hit AND NOT (SELECT further FROM sought)
    UNION ALL
    SELECT found.id, found.value
    FROM (SELECT ids, "values" FROM spans ORDER BY span * ${step} DESC LIMIT 1) AS all_spans,
      unnest(ids, "values") AS found (id, value)`
}
