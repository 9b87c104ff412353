import { sql } from './drizzle.ts'
import type { SQL } from 'drizzle-orm'

/** Seconds of one span of time: six days. */
export const SPAN_SECONDS = 524_288
/**
 * After so many spans, which are more than a year, the keys come again. A GIN index never forgets a key, so keys that name the
 * time itself would let it grow for ever.
 */
const SPANS = 64

/**
 * Letters of a text that its keys do not have, so that they can separate keys (1) and fill up the last ones (2). A service takes
 * no names with control characters, but an older version has taken them.
 */
const CLEAN = (text: SQL): SQL => sql`translate(lower(${text}), chr(1) || chr(2), '')`

/** What all keys of a tenant and a span begin with. Other tenants may have the same beginning: keys only find candidates. */
const prefixOf = (tenantId: SQL, span: SQL): SQL =>
  sql`right((${tenantId})::text, 3) || chr(256 + ((${span}) & ${sql.raw(String(SPANS - 1))})::integer)`

/** The number of the span in which a time lies. */
export const spanOf = (at: SQL): SQL =>
  sql`floor(date_part('epoch', ${at} - to_timestamp(0)) / ${sql.raw(String(SPAN_SECONDS))})::bigint`

const PADDED = sql`${CLEAN(sql`name`)} || chr(2) || chr(2)`
/** Each three letters of a text, beginning with the first, the second and the third one: together all of them. */
const threesFrom = (start: number): SQL =>
  sql`regexp_replace(substr(${PADDED}, ${sql.raw(String(start))}), '...', '\\&' || chr(1), 'g')`
const THREES = sql`rtrim(translate(${threesFrom(1)} || ${threesFrom(2)} || ${threesFrom(3)}, chr(2), ''), chr(1))`
const PREFIX = prefixOf(sql`tenant_id`, spanOf(sql`finished_at`))

/**
 * The keys by which a finished job is found by its name: each three letters of the name in lower case, and its last two and its
 * last one, behind the tenant and the span of time in which the job finished. Made of built-in functions alone, because the
 * service's own come and go with its versions (database/generations.ts), and the index must not go with them. `lower` is what
 * ILIKE compares, whatever the collation of the database is.
 */
export const NAME_KEYS: SQL = sql`array_to_tsvector(string_to_array(${PREFIX} || replace(${THREES}, chr(1), chr(1) || (${PREFIX})), chr(1)))`

/** More keys of a long text would hardly find less. */
const MAX_KEYS = 12

/**
 * A query for the jobs whose names may hold `text`, but for the tenant and the span, which `nameQuery` puts in. A text of one or two
 * letters is the beginning of keys.
 */
export const nameQueryTemplate = (text: string): SQL => sql`
  SELECT string_agg(
    '''' || chr(1) || replace(replace(substr(cleaned, n, 3), '\\', '\\\\'), '''', '''''') || ''''
      || CASE WHEN length(cleaned) < 3 THEN ':*' ELSE '' END, ' & ') AS template
  FROM (SELECT ${CLEAN(sql`${text}::text`)} AS cleaned) AS texts,
    generate_series(1, greatest(1, length(cleaned) - 2), greatest(1, (length(cleaned) + ${sql.raw(String(MAX_KEYS - 3))}) / ${sql.raw(String(MAX_KEYS))})) AS n`

/** The condition that an index has the keys of `template`, for a tenant and a span. */
export const hasKeys = (template: SQL, tenantId: string, span: SQL): SQL =>
  sql`${NAME_KEYS} @@ replace(${template}, chr(1), ${prefixOf(sql`${tenantId}::uuid`, span)})::tsquery`
