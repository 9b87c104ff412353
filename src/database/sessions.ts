import pg from 'pg'
import { createBackends, type Session } from './backends.ts'
import { cancelKeyOf } from './cancel.ts'
import { ConnectionLostError, spoilsConnection, sqlStateOf, UnreachableError } from './failures.ts'
import { Slots } from './slots.ts'

export interface SessionsOptions {
  /** Configuration of the pool, without the number of its connections. */
  config: pg.PoolConfig
  /** The most connections that the server may have from this pool, given-up ones included. */
  size: number
  /** Off behind a transaction pooler: there, the server process of a session changes from one transaction to the next. */
  direct: boolean
  /** A caller is answered within this time, also if the server is silent. */
  answerWithinMs: number
  /** How long a caller waits for a connection. */
  connectWithinMs: number
  onConnectionError: (error: Error) => void
}

export interface Sessions {
  readonly pool: pg.Pool
  /** Connections in use, and connections that were given up but that the server has not ended. */
  readonly busy: number
  /** Callers that wait for a connection. */
  readonly waiting: number
  /**
   * Runs `work` on a connection of its own. Raises `UnreachableError` when no connection was available, `ConnectionLostError`
   * when the connection broke or did not answer in time.
   */
  use<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>
  /** From now on, no caller waits longer than this, callers of statements in flight included. */
  hurry(answerWithinMs: number): void
  /** Cancels statements in flight, and closes all connections. */
  close(): Promise<void>
}

/** With more callers waiting, a caller is refused, so that it can try another replica or come later. */
const MAX_WAITING = 200
/** How long a closing process waits for statements that it has cancelled. */
const CLOSE_WITHIN_MS = 2_000

/**
 * Reads when the session's backend started, and makes the server notice within a minute that a client has vanished, instead of
 * within two hours, the default of Linux. The keepalive settings have no effect on a unix socket.
 */
const IDENTIFY = `
  SELECT backend_start::text AS begun, set_config('tcp_keepalives_idle', '30', false),
    set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)
  FROM pg_stat_activity WHERE pid = pg_backend_pid()`

const LATE = Symbol('late')

/**
 * A pool that limits the number of its backends on the server. A backend may live longer than its client: while it waits for a
 * synchronous standby, it neither times out nor reads its socket. So a connection whose statement is not answered in time, or
 * that breaks during a statement, keeps its slot until its backend has answered a cancel request, or the server says that the
 * backend is gone.
 */
export const createSessions = (options: SessionsOptions): Sessions => {
  const { config, size, direct, connectWithinMs, onConnectionError } = options
  let { answerWithinMs } = options
  // Slots decide who may connect, so no caller waits inside the pool.
  const pool = new pg.Pool({ ...config, max: size, connectionTimeoutMillis: connectWithinMs })
  const backends = createBackends(pool)
  const slots = new Slots({ size, maxWaiting: MAX_WAITING, patienceMs: connectWithinMs })
  const sessions = new WeakMap<pg.PoolClient, Session>()
  /** When the server last answered a statement of a connection (`performance.now()`). */
  const answeredAt = new WeakMap<pg.PoolClient, number>()
  /** A function for each statement in flight that shortens its caller's wait. */
  const impatient = new Set<(withinMs: number) => void>()
  // A client that breaks in use fails its query and also emits an error, which without a listener would end the process. So
  // each client has a listener. The pool repeats the errors of idle clients.
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

  /** Takes a connection that rests, and replaces it if the server has not answered it since `sinceMs`. */
  const replaceIfSilent = async (sinceMs: number): Promise<void> => {
    await slots.take()
    let client: pg.PoolClient
    try {
      client = await pool.connect()
    } catch (error) {
      slots.giveBack()
      throw error
    }
    const session = sessions.get(client)
    if (session && (answeredAt.get(client) ?? 0) < sinceMs) await letGo(client, session, null)
    else {
      client.release()
      slots.giveBack()
    }
  }

  /**
   * A network that has forgotten one connection has forgotten those that are as old: behind an address that has moved to another
   * server, each would cost its next caller the whole wait. So those that rest are replaced at once.
   */
  const replaceSilent = (sinceMs: number): void => {
    for (let resting = pool.idleCount; resting > 0; resting -= 1) replaceIfSilent(sinceMs).catch(onConnectionError)
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
      const begun = performance.now()
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
          answeredAt.set(client, performance.now())
          client.release()
          slots.giveBack()
        }
        throw error
      }
      if (result === LATE) {
        const late = new Error(`The database has not answered for ${answerWithinMs} ms`)
        replaceSilent(begun)
        throw new ConnectionLostError(late, letGo(client, session, statement))
      }
      answeredAt.set(client, performance.now())
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
