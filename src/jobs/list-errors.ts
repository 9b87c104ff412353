import type { SQL } from 'drizzle-orm'
import { and, sql } from '../database/drizzle.ts'
import { HeadwayError } from '../contract/errors.ts'
import { functions } from '../database/functions.ts'
import { progressJobs } from '../database/schema.ts'
import { directionOf, type PageParts } from './list-page.ts'
import { escapeLike, nameHolds } from './list-search.ts'
import type { ListSources } from './list-sources.ts'

/**
 * Failed jobs that a page looks at for a text in their errors. No index has the texts of errors: a job that fails would pay for it,
 * and few lists ask. A page that has looked at so many jobs ends there, and its cursor goes on after the last of them.
 */
export const LOOKED_FOR_ERRORS = 5_000

const errorHolds = (text: string): SQL => sql`${progressJobs.errorMessage} ILIKE ${`%${escapeLike(text)}%`}`

/** Only the order of an index may be looked through: any other would sort all failed jobs first. */
export const requireOrderOfErrors = ({ error, sort }: PageParts['query']): void => {
  if (error === undefined || sort.key === 'finishedAt') return
  const message = 'must be finishedAt or -finishedAt beside error'
  throw new HeadwayError('validation_failed', `sort ${message}.`, { errors: [{ path: 'sort', message }] })
}

/**
 * The failed jobs of a list whose error holds a text, as common table expressions: `listed` has them, and `looked` has all that were
 * looked at. `sources` is that of failed jobs alone.
 */
export const idsByError = ({ finished, search }: ListSources, { query, after }: PageParts): SQL => {
  const { error = '', sort } = query
  const direction = directionOf(sort)
  const beyond =
    after === null
      ? undefined
      : sql`(${progressJobs.finishedAt}, ${progressJobs.id}) ${sort.descending ? sql`<` : sql`>`} (${after.value}::timestamptz, ${after.id}::uuid)`
  const holds = and(errorHolds(error), search === undefined ? undefined : nameHolds(search))
  // A list without failed jobs has no source.
  const filter = and(finished[0] ?? sql`false`, beyond)
  return sql`looked AS MATERIALIZED (
      SELECT id, ${progressJobs.finishedAt} AS value, coalesce(${holds}, false) AS hit FROM ${progressJobs}
      WHERE ${filter} ORDER BY value ${direction}, id ${direction} LIMIT ${LOOKED_FOR_ERRORS}
    ),
    listed AS (SELECT 0 AS place, id, value FROM looked WHERE hit)`
}

/** How many of the jobs that were looked at hold the text. */
export const countByError = sql`SELECT count(*) FILTER (WHERE hit)::integer AS total, count(*)::integer AS looked FROM looked`

/** The last job that was looked at, as far as a cursor needs it; null: there were no more. */
export const lastLooked = ({ sort }: PageParts['query']): SQL => {
  const direction = directionOf(sort)
  return sql`(SELECT json_build_object('id', id, 'finishedAt', ${functions}.iso(value)) FROM looked
    ORDER BY value ${direction}, id ${direction} OFFSET ${LOOKED_FOR_ERRORS - 1} LIMIT 1)`
}
