import { setMaxListeners } from 'node:events'
import type pg from 'pg'
import { requestCancel, type CancelKey } from './cancel.ts'
import { sqlStateOf } from './failures.ts'

/** A backend that was asked to cancel answers within milliseconds, unless the network or a standby blocks it. */
const CANCELLED_WITHIN_MS = 2_000
const CANCEL_TIMEOUT_MS = 5_000
const RETRY_MS = 1_000
const END_ATTEMPTS = 3
const CANNOT_CONNECT_NOW = '57P03'

/** The start time is compared as well, because process numbers are used again. */
const END_BACKEND = `SELECT pg_terminate_backend(pid, ${CANCELLED_WITHIN_MS})
  FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2::timestamptz`

/** What is needed to end a session from another one. */
export interface Session {
  key: CancelKey | null
  /** When the session's backend started, as text from the server; null when it is not known. */
  begun: string | null
}

/** The state of a connection's last statement. */
interface Owed {
  /** The server has answered with a result or an error, and does nothing more for the statement. */
  isAnswered: boolean
  /** The socket is gone: the server cannot answer, and may still be working. */
  isLost: boolean
  /** Resolves with the answer; never when the connection was lost. */
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

export interface Backends {
  /**
   * Gives a connection up, and resolves when the server has no backend for it any more. `statement` is the statement that the
   * server has not answered, or null. A connection whose statement was cancelled is not used again, because the cancel request
   * could hit the next statement.
   */
  partWith(client: pg.PoolClient, session: Session, statement: Promise<unknown> | null): Promise<void>
  /** Stops waiting for the server. */
  abandon(): void
}

/** Ends backends of connections that are no longer used. Sends its requests over connections of `pool`. */
export const createBackends = (pool: pg.Pool): Backends => {
  const closing = new AbortController()
  // Every pause listens to the signal.
  setMaxListeners(0, closing.signal)

  /** Resolves after so many milliseconds, or when the service closes. */
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

  /**
   * Backends are ended one after the other: each request needs one connection more than the pool may have, until the backend
   * has ended.
   */
  let ending: Promise<void> = Promise.resolve()

  /** Whether the server has answered that the backend is gone. */
  const askToEnd = async (processId: number, begun: string): Promise<boolean> => {
    let client: pg.PoolClient
    try {
      client = await pool.connect()
    } catch (error) {
      // A server that is starting or stopping accepts no connections, and has no backends left.
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

  /** Sends cancel requests until one has arrived or none is needed. Answers whether there is a server at all. */
  const cancel = async (key: CancelKey, owed: Owed): Promise<boolean> => {
    while (!owed.isAnswered && !closing.signal.aborted) {
      const outcome = await requestCancel(key, CANCEL_TIMEOUT_MS)
      if (outcome === 'refused') return false
      if (outcome === 'delivered') break
      await Promise.race([owed.answered, pause(RETRY_MS)])
    }
    return true
  }

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
    // pg closes the session in order if everything was answered, and destroys the socket otherwise.
    client.release(true)
    if (isAnswered && (await Promise.race([ended.then(() => true), pause(CANCELLED_WITHIN_MS).then(() => false)])))
      return
    ending = ending.then(() => endBackend(session))
    await ending
  }

  return { partWith, abandon: () => closing.abort() }
}
