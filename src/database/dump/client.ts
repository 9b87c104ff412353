import pg from 'pg'
import { clientOptions } from '../connection.ts'
import { ConnectionLostError, UnreachableError } from '../failures.ts'

/**
 * Runs `work` on a connection of its own. If `work` fails, the connection is cut and the server rolls back: it may be in the
 * middle of a copy, and would send the rest first. Raises `UnreachableError` when no connection is available,
 * `ConnectionLostError` when it breaks.
 */
export const withClient = async <Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> => {
  const client = new pg.Client(clientOptions(url))
  const losses: Error[] = []
  // The statement in flight is rejected as well; without a listener the error would end the process.
  client.on('error', error => losses.push(error))
  await client.connect().catch((cause: unknown) => {
    throw new UnreachableError(cause)
  })
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
