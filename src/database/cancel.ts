import pg from 'pg'

/** The address of a session, and the key that the server gave it for cancel requests (see `BackendKeyData` in the protocol). */
export interface CancelKey {
  host: string
  port: number
  ssl: pg.ClientConfig['ssl']
  processId: number
  secretKey: number
}

/**
 * - `delivered`: the server has closed the connection of the request, so it has signalled the backend, if there is one.
 * - `refused`: there is no server.
 * - `unreachable`: nothing is known.
 */
export type CancelOutcome = 'delivered' | 'refused' | 'unreachable'

/** Members of pg's connection that its types do not declare. */
interface CancelConnection extends NodeJS.EventEmitter {
  readonly stream: { destroy(): unknown }
  connect(port: number, host: string): void
  connect(path: string): void
  requestSsl(): void
  cancel(processId: number, secretKey: number): void
}
const Connection = pg.Connection as unknown as new (config: { ssl: pg.ClientConfig['ssl'] }) => CancelConnection

interface SessionClient {
  host: string
  port: number
  ssl: pg.ClientConfig['ssl']
  processID: number | null
  secretKey: number | null
}

/** The key of a connected client. Null behind a pooler that gives no key. */
export const cancelKeyOf = (client: pg.PoolClient): CancelKey | null => {
  const { host, port, ssl, processID: processId, secretKey } = client as unknown as SessionClient
  return processId === null || secretKey === null ? null : { host, port, ssl, processId, secretKey }
}

const NOBODY_THERE = new Set(['ECONNREFUSED', 'ENOENT'])

/**
 * Asks the server to cancel the statement of a session. The request uses a connection of its own, which counts against no limit
 * of the server (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS).
 */
export const requestCancel = (key: CancelKey, timeoutMs: number): Promise<CancelOutcome> =>
  new Promise(resolve => {
    const connection = new Connection({ ssl: key.ssl })
    let sent = false
    const end = (outcome: CancelOutcome) => {
      clearTimeout(timer)
      connection.stream.destroy()
      resolve(outcome)
    }
    const timer = setTimeout(end, timeoutMs, 'unreachable')
    const send = () => {
      sent = true
      connection.cancel(key.processId, key.secretKey)
    }
    connection.on('connect', () => {
      if (key.ssl) connection.requestSsl()
      else send()
    })
    connection.on('sslconnect', send)
    connection.on('error', (error: NodeJS.ErrnoException) => {
      end(NOBODY_THERE.has(error.code ?? '') ? 'refused' : 'unreachable')
    })
    connection.on('end', () => end(sent ? 'delivered' : 'unreachable'))
    if (key.host.startsWith('/')) connection.connect(`${key.host}/.s.PGSQL.${key.port}`)
    else connection.connect(key.port, key.host)
  })
