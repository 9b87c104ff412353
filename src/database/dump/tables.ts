import type pg from 'pg'

/**
 * The tables that a dump contains, in an order in which every row comes after the rows that it refers to.
 * `service_processes` is left out: it names the processes that serve this database now, and a process that is missing there
 * delays verdicts. The roll-ups of statistics are left out, too: they are made anew from the jobs.
 */
export const DUMPED_TABLES = [
  'progress_jobs',
  'job_progress',
  'job_events',
  'webhooks',
  'webhook_messages',
  'webhook_backlogs',
  'webhook_deliveries',
  'badges',
  'chat_messages',
  'untold_changes',
  'type_histories',
] as const

export const LEFT_OUT_TABLES = [
  'service_processes',
  'statistics_rollups',
  'statistics_marks',
  'statistics_coverage',
] as const

export type DumpedTable = (typeof DUMPED_TABLES)[number]

export const isDumpedTable = (name: unknown): name is DumpedTable =>
  (DUMPED_TABLES as readonly unknown[]).includes(name)

/**
 * The columns of each table that the database has. Generated columns are left out, because the server computes them. Columns
 * of type xid8 are left out as well: they are positions in the order of commits of one server, and another server counts on
 * its own. They are null after a restore, which readers know from jobs that ended before the columns existed.
 */
export const readColumns = async (client: pg.Client): Promise<Map<DumpedTable, string[]>> => {
  const { rows } = await client.query<{ table: DumpedTable; columns: string[] }>(
    `SELECT c.relname::text AS table, array_agg(a.attname::text ORDER BY a.attnum) AS columns
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname = ANY ($1)
       AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.atttypid <> 'xid8'::regtype
     GROUP BY c.relname`,
    [DUMPED_TABLES],
  )
  const found = new Map(rows.map(({ table, columns }) => [table, columns]))
  return new Map(
    DUMPED_TABLES.flatMap(table => {
      const columns = found.get(table)
      return columns === undefined ? [] : [[table, columns] as const]
    }),
  )
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** A table with its columns, as COPY and LOCK name it. */
export const qualified = (table: DumpedTable): string => `public.${quoted(table)}`

/** What COPY reads or writes. */
export const copyTarget = (table: DumpedTable, columns: readonly string[]): string =>
  `${qualified(table)} (${columns.map(quoted).join(', ')})`

/**
 * Settings of the transaction of a dump or a restore. The texts of rows must not depend on the settings of a role or a
 * server, and a transaction that copies for hours must not meet a time limit that was made for the service. They are local to
 * the transaction, so that they work through a pooler. `transaction_timeout` exists since PostgreSQL 17.
 */
export const prepareTransaction = async (client: pg.Client): Promise<void> => {
  await client.query(
    `SELECT set_config(s.name, v.setting, true)
     FROM (VALUES ('client_encoding', 'UTF8'), ('datestyle', 'ISO'), ('extra_float_digits', '1'), ('timezone', 'UTC'),
       ('search_path', 'pg_catalog'), ('statement_timeout', '0'), ('lock_timeout', '0'),
       ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0')) v (name, setting)
     JOIN pg_catalog.pg_settings s ON lower(s.name) = v.name`,
  )
}
