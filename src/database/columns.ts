import { sql } from 'drizzle-orm'
import { bigint, customType, timestamp } from 'drizzle-orm/pg-core'

/** Milliseconds are what JSON carries; a finer time would not survive a round trip. */
export const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: 'date' })
/** Truncated like every time that the functions write; stored as it is, now() would be rounded, half of the time into the future. */
export const thisMillisecond = sql`date_trunc('milliseconds', now())`
export const count = (name: string) => bigint(name, { mode: 'number' })

/** The number of a transaction, which never wraps around. */
export const transactionId = customType<{ data: string }>({ dataType: () => 'xid8' })
