import { setMaxListeners } from 'node:events'
import type pg from 'pg'
import { requestCancel, type CancelKey } from './cancel.ts'
import { sqlStateOf } from './failures.ts'

/** A backend that has been told to cancel answers within milliseconds, unless nothing gets through to or from it. */
const CANCELLED_WITHIN_MS = 2_000
const CANCEL_TIMEOUT_MS = 5_000
const RETRY_MS = 1_000
const END_ATTEMPTS = 3
const CANNOT_CONNECT_NOW = '57P03'

/** A process number is used again, with another beginning. */
const END_BACKEND = `SELECT pg_terminate_backend(pid, ${CANCELLED_WITHIN_MS})
  FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2::timestamptz`

/** What is needed to end a session from outside. */
export interface Session {
  key: CancelKey | null
  /** When its backend began, in the server's words; null where that cannot be known. */
  begun: string | null
}

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

export interface Backends {
  /**
   * Parts with a connection, and resolves when the server has no backend for it any more. `statement` is what it has not
   * answered; null when it owes nothing. A connection whose statement was cancelled is not used again: the request might meet
   * the next one.
   */
  partWith(client: pg.PoolClient, session: Session, statement: Promise<unknown> | null): Promise<void>
  /** Gives up whatever still waits for the server. */
  abandon(): void
}

/** Ends what the server still has of connections that nobody uses any more. Asks by connections of `pool`. */
export const createBackends = (pool: pg.Pool): Backends => {
  const closing = new AbortController()
  // Every pause listens to it.
  setMaxListeners(0, closing.signal)

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

  return { partWith, abandon: () => closing.abort() }
}
