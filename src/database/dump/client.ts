import type pg from 'pg'
import { connectClient } from '../client.ts'
import { clientOptions } from '../connection.ts'
import { ConnectionLostError } from '../failures.ts'

/**
 * Runs `work` on a connection of its own. If `work` fails, the connection is cut and the server rolls back: it may be in the
 * middle of a copy, and would send the rest first. Raises `UnreachableError` when no connection is available,
 * `ConnectionLostError` when it breaks.
 */
export const withClient = async <Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> => {
  const client = await connectClient(clientOptions(url))
  const losses: Error[] = []
  client.on('error', error => losses.push(error))
  try {
    const result = await work(client)
    await client.end()
    return result
  } catch (error) {
    const { connection } = client as unknown as { connection: { stream: { destroy: () => void } } }
    connection.stream.destroy()
    throw losses.length > 0 && !(error instanceof ConnectionLostError) ? new ConnectionLostError(error) : error
  }
}
