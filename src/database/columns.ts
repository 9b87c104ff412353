import { sql, bigint, customType, PgSchema, timestamp } from './drizzle.ts'

/**
 * A table that statements name with its schema, so that they find it whatever `search_path` their session has. Drizzle's
 * `pgTable` leaves the name alone, and `pgSchema` does not take this schema.
 */
export const publicTable = new PgSchema('public').table

/** Milliseconds are what JSON carries; a finer time would not survive a round trip. */
export const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: 'date' })
/** Truncated like every time that the functions write; stored as it is, now() would be rounded, half of the time into the future. */
export const thisMillisecond = sql`date_trunc('milliseconds', now())`
export const count = (name: string) => bigint(name, { mode: 'number' })

/** The number of a transaction, which never wraps around. */
export const transactionId = customType<{ data: string }>({ dataType: () => 'xid8' })
