import { setMaxListeners } from 'node:events'
import pg from 'pg'
import { cancelKeyOf, requestCancel, type CancelKey } from './cancel.ts'
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
/** A backend that has been told to cancel answers within milliseconds, unless nothing gets through to or from it. */
const CANCELLED_WITHIN_MS = 2_000
const CANCEL_TIMEOUT_MS = 5_000
const RETRY_MS = 1_000
const END_ATTEMPTS = 3
const CANNOT_CONNECT_NOW = '57P03'
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

/** A process number is used again, with another beginning. */
const END_BACKEND = `SELECT pg_terminate_backend(pid, ${CANCELLED_WITHIN_MS})
  FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2::timestamptz`

/** What is needed to end a session from outside. */
interface Session {
  key: CancelKey | null
  /** When its backend began, in the server's words; null where that cannot be known. */
  begun: string | null
}

const LATE = Symbol('late')

/** What a connection owes. */
interface Owed {
  /** The server has answered, well or ill: it does nothing more. */
  isAnswered: boolean
  /** The socket is gone: the server cannot answer, and may go on. */
  isLost: boolean
  /** Resolves with the answer; never when it was lost. */
  answered: Promise<void>
}

const watch = (statement: Promise<unknown> | null): Owed => {
  const owed: Owed = { isAnswered: statement === null, isLost: false, answered: Promise.resolve() }
  if (statement) {
    owed.answered = new Promise(resolve => {
      const answer = () => {
        owed.isAnswered = true
        resolve()
      }
      statement.then(answer, (error: unknown) => {
        if (sqlStateOf(error) === null) owed.isLost = true
        else answer()
      })
    })
  }
  return owed
}

const endOf = (client: pg.PoolClient): Promise<void> => new Promise(resolve => client.once('end', resolve))

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
  const slots = new Slots({ size, maxWaiting: MAX_WAITING, patienceMs: connectWithinMs })
  const sessions = new WeakMap<pg.PoolClient, Session>()
  /** Of the statements under way: lets their callers go. */
  const impatient = new Set<(withinMs: number) => void>()
  const closing = new AbortController()
  // Every pause listens to it.
  setMaxListeners(0, closing.signal)
  // Heard at each client, idle or not: one that breaks in use fails its query and says so besides, and unheard, that would
  // end the process. The pool repeats what idle ones say.
  pool.on('error', () => undefined)
  pool.on('connect', client => client.on('error', onConnectionError))

  /** Resolves after so long, or when the service closes. */
  const pause = (milliseconds: number) =>
    new Promise<void>(resolve => {
      if (closing.signal.aborted) {
        resolve()
        return
      }
      const end = () => {
        clearTimeout(timer)
        closing.signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, milliseconds)
      closing.signal.addEventListener('abort', end)
    })

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

  /** One after the other: each is one connection more than the pool may have, for as long as the one that it ends lives. */
  let ending: Promise<void> = Promise.resolve()

  /** Answers whether the server has said that no backend is left. */
  const askToEnd = async (processId: number, begun: string): Promise<boolean> => {
    let client: pg.PoolClient
    try {
      client = await pool.connect()
    } catch (error) {
      // A server that is starting or stopping lets nobody in, and has let everybody go.
      return sqlStateOf(error) === CANNOT_CONNECT_NOW
    }
    const asked = client.query(END_BACKEND, [processId, begun]).then(
      () => true,
      () => false,
    )
    const isAnswered = await Promise.race([asked, pause(CANCEL_TIMEOUT_MS).then(() => false)])
    client.release(!isAnswered)
    return isAnswered
  }

  const endBackend = async ({ key, begun }: Session): Promise<void> => {
    if (!key || begun === null) return
    for (let attempt = 1; attempt <= END_ATTEMPTS && !closing.signal.aborted; attempt += 1) {
      if (await askToEnd(key.processId, begun)) return
      await pause(RETRY_MS)
    }
  }

  /** Asks until the request has arrived, or is not needed any more; answers whether a server is there at all. */
  const cancel = async (key: CancelKey, owed: Owed): Promise<boolean> => {
    while (!owed.isAnswered && !closing.signal.aborted) {
      const outcome = await requestCancel(key, CANCEL_TIMEOUT_MS)
      if (outcome === 'refused') return false
      if (outcome === 'delivered') break
      await Promise.race([owed.answered, pause(RETRY_MS)])
    }
    return true
  }

  /**
   * Parts with a connection, and resolves when the server has no backend for it any more. `statement` is what it has not
   * answered; null when it owes nothing. A connection whose statement was cancelled is not used again: the request might meet
   * the next one.
   */
  const partWith = async (
    client: pg.PoolClient,
    session: Session,
    statement: Promise<unknown> | null,
  ): Promise<void> => {
    const ended = endOf(client)
    const owed = watch(statement)
    if (session.key && !owed.isAnswered) {
      if (!(await cancel(session.key, owed))) {
        client.release(true)
        return
      }
      if (!owed.isLost) await Promise.race([owed.answered, ended, pause(CANCELLED_WITHIN_MS)])
    }
    const { isAnswered } = owed
    // Says goodbye where everything has been answered, and destroys the socket otherwise.
    client.release(true)
    if (isAnswered && (await Promise.race([ended.then(() => true), pause(CANCELLED_WITHIN_MS).then(() => false)])))
      return
    ending = ending.then(() => endBackend(session))
    await ending
  }

  const letGo = (client: pg.PoolClient, session: Session, statement: Promise<unknown> | null): Promise<void> =>
    partWith(client, session, statement).finally(() => slots.giveBack())

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
      closing.abort()
      await pool.end()
    },
  }
}
