import { sql, bigint, customType, PgSchema, timestamp } from './drizzle.ts'

/**
 * A table that statements name with its schema, so that they find it with any `search_path` of their session. Drizzle's
 * `pgTable` leaves the schema out, and `pgSchema` refuses the name `public`.
 */
export const publicTable = new PgSchema('public').table

/** A time in milliseconds, the precision of JSON documents: a finer time would not survive a round trip. */
export const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: 'date' })
/**
 * The current time, truncated to milliseconds like every time that the functions write. A plain now() would be rounded when it
 * is stored, half of the time into the future.
 */
export const thisMillisecond = sql`date_trunc('milliseconds', now())`
export const count = (name: string) => bigint(name, { mode: 'number' })

/** The number of a transaction, which never wraps around. */
export const transactionId = customType<{ data: string }>({ dataType: () => 'xid8' })
