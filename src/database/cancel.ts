import pg from 'pg'

/** Where a session is, and the key that the server gave it for requests to cancel (see `BackendKeyData` in the protocol). */
export interface CancelKey {
  host: string
  port: number
  ssl: pg.ClientConfig['ssl']
  processId: number
  secretKey: number
}

/**
 * - `delivered`: the server has closed the connection that brought the request, so it has signalled the backend, if there is one.
 * - `refused`: no server is there.
 * - `unreachable`: nothing is known.
 */
export type CancelOutcome = 'delivered' | 'refused' | 'unreachable'

/** What pg has and its types lack. */
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

/** Of a connected client. Null behind something that gives no key. */
export const cancelKeyOf = (client: pg.PoolClient): CancelKey | null => {
  const { host, port, ssl, processID: processId, secretKey } = client as unknown as SessionClient
  return processId === null || secretKey === null ? null : { host, port, ssl, processId, secretKey }
}

const NOBODY_THERE = new Set(['ECONNREFUSED', 'ENOENT'])

/**
 * Asks the server to cancel what a session does, on a connection that is used for nothing else and counts against no limit of
 * the server (https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS).
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
