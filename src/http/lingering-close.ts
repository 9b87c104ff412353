import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { LoopTurns } from '../turns/loop-turns.ts'
import { readInTurns } from './read-in-turns.ts'

/**
 * When a request is answered before its body has arrived, keeps the connection open until the rest of the body has arrived, or
 * the client has sent nothing for `silentMs`. The time that a whole request may take limits it, too. Node would close the
 * connection at once. The kernel answers bytes that arrive after that with a reset. The reset discards what the client has not
 * read yet, so a client that is still sending would never learn why it was refused (RFC 9112, section 9.6).
 */
export const registerLingeringClose = (
  app: FastifyInstance,
  { silentMs, loopTurns }: { silentMs: number; loopTurns: LoopTurns },
): void => {
  const linger = (request: IncomingMessage): void => {
    const { socket } = request
    // Node calls this after the last answer of a connection, and not if another request may follow.
    socket.destroySoon = () => {
      socket.end()
      socket.setTimeout(silentMs)
      request.once('end', () => socket.destroy())
    }
    request.once('end', () => delete (socket as Partial<typeof socket>).destroySoon)
    // The rest of the body is read piece by piece and thrown away, also if a parser had begun to read it. A request that has
    // ended delivers nothing more.
    const party = { tenantId: 'strangers', caller: socket.remoteAddress ?? null }
    readInTurns(request, party, { loopTurns, take: () => undefined, fail: () => socket.destroy() })
  }
  const watch = (request: IncomingMessage, response: ServerResponse): void => {
    // Before Node's own listener, which decides about the connection.
    response.prependOnceListener('finish', () => {
      if (!request.complete) linger(request)
    })
  }
  // Requests that `refuseExpectation` answers come as `checkExpectation`, all others as `request`.
  for (const kind of ['request', 'checkExpectation']) app.server.prependListener(kind, watch)
}
