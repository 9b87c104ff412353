import type { Socket } from 'node:net'
import pg from 'pg'
import { sqlStateOf, UnreachableError } from './failures.ts'

/** Members of pg's client that its types do not declare. TLS puts another socket in the place of the first. */
interface Connecting {
  connection: { stream: Socket }
}

/**
 * Opens a connection for one piece of work. Raises `UnreachableError` when that fails. Its `isFinal` is true when the driver has
 * given up a connection that is open: the server has answered, and with these settings the answer will always be the same. It
 * speaks no TLS, it is no Postgres, or it asks for a password where there is none.
 */
export const connectClient = async (config: pg.ClientConfig): Promise<pg.Client> => {
  const client = new pg.Client(config)
  // The query in flight is rejected as well; without a listener the error would end the process.
  client.on('error', () => undefined)
  try {
    await client.connect()
    return client
  } catch (cause) {
    // The network, the server and the time limit all destroy the socket.
    const isOpen = !(client as unknown as Connecting).connection.stream.destroyed
    // A server that waits for a password, or for more of a handshake, still holds the connection, and with it this process.
    void client.end().catch(() => undefined)
    throw new UnreachableError(cause, { isFinal: isOpen && sqlStateOf(cause) === null })
  }
}
