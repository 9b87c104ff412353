import type { ClientBase } from 'pg'

/**
 * What the service needs of a session, whatever the server, the database or the role have as defaults:
 *
 * - `search_path = pg_catalog`: statements name the schemas of tables and functions of Headway. So no schema is searched in which
 *   others may create functions and operators, of which one could fit a call better than the built-in one.
 * - `jit = off`: no statement of the service runs long enough to gain by being compiled, which takes longer than most of them.
 * - READ COMMITTED: its statements wait for locks, and decide by what they find then. Stricter levels would fail them instead.
 * - `synchronous_commit` at least `on`: what was answered as durable is on disk. Stricter values stay as they are, and so does
 *   `local`, which waits for this server's disk.
 *
 * Behind a transaction pooler, sessions belong to everybody: there the role has to have these (docs/operate/postgres.md,
 * "Behind a transaction pooler").
 */
const SETTINGS = `SELECT set_config('search_path', 'pg_catalog', false), set_config('jit', 'off', false),
  set_config('default_transaction_isolation', 'read committed', false),
  CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`

/**
 * Prepares a session of the service's own, before its first statement. For `onConnect` of a pool, which waits for it, though its
 * type says otherwise.
 */
export const prepareSession = (client: ClientBase) => client.query(SETTINGS) as unknown as undefined
