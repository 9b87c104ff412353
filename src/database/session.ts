import type { ClientBase } from 'pg'

/**
 * The settings that the service needs in a session, whatever the defaults of the server, the database or the role are:
 *
 * - `search_path = pg_catalog`: statements name the schemas of Headway's tables and functions. So no schema is searched in which
 *   others may create functions and operators that could match a call better than the built-in one.
 * - `jit = off`: no statement of the service runs long enough to gain from compilation, which takes longer than most of them.
 * - READ COMMITTED: the statements wait for locks, and decide by the rows that they find then. At stricter levels they would fail.
 * - `synchronous_commit` at least `on`: what was answered as durable is on disk. Stricter values stay as they are, and so does
 *   `local`, which waits for this server's disk.
 *
 * Behind a transaction pooler, sessions are shared with other programs. There the role must have these settings
 * (docs/operate/postgres.md, "Behind a transaction pooler").
 */
const SETTINGS = `SELECT set_config('search_path', 'pg_catalog', false), set_config('jit', 'off', false),
  set_config('default_transaction_isolation', 'read committed', false),
  CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`

/**
 * Prepares a new session before its first statement. It is for `onConnect` of a pool, which waits for the promise, although its
 * type says otherwise.
 */
export const prepareSession = (client: ClientBase) => client.query(SETTINGS) as unknown as undefined
