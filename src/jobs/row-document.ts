import { sql } from '../database/drizzle.ts'
import { functions } from '../database/functions.ts'

/**
 * A document of the queried table's row. The table is named without its schema, because with it the name would be read as a
 * column.
 */
export const rowDocument = <T>(kind: 'job' | 'listed_job' | 'progress') =>
  sql<T>`${functions}.${sql.raw(kind)}_document(progress_jobs)`
