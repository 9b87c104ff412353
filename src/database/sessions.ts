import pg from 'pg'
import { createBackends, type Session } from './backends.ts'
import { cancelKeyOf } from './cancel.ts'
import { ConnectionLostError, spoilsConnection, sqlStateOf, UnreachableError } from './failures.ts'
import { Slots } from './slots.ts'

export interface SessionsOptions {
  /** Of the pool, without the number of its connections. */
  config: pg.PoolConfig
  /** Connections that the server may have of this pool, whatever becomes of them. */
  size: number
  /** Off behind a transaction pooler: the server process that a session names is not its own there. */
  direct: boolean
  /** A caller is answered after so long, also where the server is silent. */
  answerWithinMs: number
  /** A caller waits so long for a connection. */
  connectWithinMs: number
  onConnectionError: (error: Error) => void
}

export interface Sessions {
  readonly pool: pg.Pool
  /** Connections in use, those included that nobody uses and the server has not let go. */
  readonly busy: number
  /** Callers that wait for a connection. */
  readonly waiting: number
  /**
   * Runs `work` on a connection of its own. Raises `UnreachableError` when there was none to be had, `ConnectionLostError` when it
   * broke or did not answer in time.
   */
  use<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>
  /** From now on, statements under way included, a caller waits no longer than this. */
  hurry(answerWithinMs: number): void
  /** Cancels what is under way, and closes all connections. */
  close(): Promise<void>
}

/** Whoever meets a longer line is better off elsewhere, or later. */
const MAX_WAITING = 200
/** A process that ends waits so long for what it has cancelled. */
const CLOSE_WITHIN_MS = 2_000

/**
 * The server finds out by itself that a client has vanished: within a minute, instead of two hours, which is the default of
 * Linux. Without effect on a unix socket.
 */
const IDENTIFY = `
  SELECT backend_start::text AS begun, set_config('tcp_keepalives_idle', '30', false),
    set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)
  FROM pg_stat_activity WHERE pid = pg_backend_pid()`

const LATE = Symbol('late')

/**
 * A pool that knows how many connections the server has of it. A backend may outlive its client: one that waits for a synchronous
 * standby neither times out nor looks at its socket. So a connection whose statement is not answered in time, or breaks under
 * one, keeps its slot: its backend is asked to cancel until it answers, or until the server says that it is gone.
 */
export const createSessions = (options: SessionsOptions): Sessions => {
  const { config, size, direct, connectWithinMs, onConnectionError } = options
  let { answerWithinMs } = options
  // Slots decide who may connect: nobody waits in the pool itself.
  const pool = new pg.Pool({ ...config, max: size, connectionTimeoutMillis: connectWithinMs })
  const backends = createBackends(pool)
  const slots = new Slots({ size, maxWaiting: MAX_WAITING, patienceMs: connectWithinMs })
  const sessions = new WeakMap<pg.PoolClient, Session>()
  /** Of the statements under way: lets their callers go. */
  const impatient = new Set<(withinMs: number) => void>()
  // Heard at each client, idle or not: one that breaks in use fails its query and says so besides, and unheard, that would
  // end the process. The pool repeats what idle ones say.
  pool.on('error', () => undefined)
  pool.on('connect', client => client.on('error', onConnectionError))

  const identify = async (client: pg.PoolClient): Promise<Session> => {
    const key = cancelKeyOf(client)
    if (!direct) return { key, begun: null }
    const { rows } = await client.query<{ begun: string }>(IDENTIFY)
    return { key, begun: rows[0]?.begun ?? null }
  }

  const connect = async (): Promise<{ client: pg.PoolClient; session: Session }> => {
    const client = await pool.connect()
    const known = sessions.get(client)
    if (known) return { client, session: known }
    const identified = identify(client)
    try {
      const session = await inTime(identified, connectWithinMs)
      if (session === LATE) throw new Error(`A new connection has not answered for ${connectWithinMs} ms`)
      sessions.set(client, session)
      return { client, session }
    } catch (error) {
      client.release(true)
      throw error
    }
  }

  const letGo = (client: pg.PoolClient, session: Session, statement: Promise<unknown> | null): Promise<void> =>
    backends.partWith(client, session, statement).finally(() => slots.giveBack())

  /** Resolves with `LATE` when the server has not answered `statement` in time. */
  const inTime = async <T>(statement: Promise<T>, limitMs: number): Promise<T | typeof LATE> => {
    let timer: NodeJS.Timeout | undefined
    let giveUp: () => void = () => undefined
    const late = new Promise<typeof LATE>(resolve => {
      giveUp = () => resolve(LATE)
    })
    const begun = performance.now()
    const within = (milliseconds: number) => {
      clearTimeout(timer)
      timer = setTimeout(giveUp, Math.max(0, milliseconds))
    }
    const hurry = (withinMs: number) => within(Math.min(withinMs, begun + limitMs - performance.now()))
    within(limitMs)
    impatient.add(hurry)
    try {
      return await Promise.race([statement, late])
    } finally {
      impatient.delete(hurry)
      clearTimeout(timer)
    }
  }

  return {
    pool,
    get busy() {
      return slots.taken
    },
    get waiting() {
      return slots.waiting
    },

    async use<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
      const { client, session } = await slots
        .take()
        .then(() =>
          connect().catch((error: unknown) => {
            slots.giveBack()
            throw error
          }),
        )
        .catch((cause: unknown) => {
          throw new UnreachableError(cause)
        })
      const statement = work(client)
      let result: T | typeof LATE
      try {
        result = await inTime(statement, answerWithinMs)
      } catch (error) {
        if (sqlStateOf(error) === null) {
          throw new ConnectionLostError(error, letGo(client, session, statement))
        }
        if (spoilsConnection(error)) void letGo(client, session, null)
        else {
          client.release()
          slots.giveBack()
        }
        throw error
      }
      if (result === LATE) {
        const late = new Error(`The database has not answered for ${answerWithinMs} ms`)
        throw new ConnectionLostError(late, letGo(client, session, statement))
      }
      client.release()
      slots.giveBack()
      return result
    },

    hurry(withinMs) {
      answerWithinMs = Math.min(answerWithinMs, withinMs)
      for (const hurry of impatient) hurry(withinMs)
    },

    async close() {
      slots.refuseWaiting('The service is closing')
      this.hurry(CLOSE_WITHIN_MS)
      let timer: NodeJS.Timeout | undefined
      const patience = new Promise<void>(resolve => {
        timer = setTimeout(resolve, 2 * CLOSE_WITHIN_MS)
      })
      await Promise.race([slots.allFree(), patience])
      clearTimeout(timer)
      backends.abandon()
      await pool.end()
    },
  }
}
