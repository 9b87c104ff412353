import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { LoopTurns } from './limits/loop-turns.ts'
import { readInTurns } from './read-in-turns.ts'

/**
 * Closes the connection behind an answer only when the rest of the request's body has arrived, or its client has fallen silent
 * for `silentMs`; the time that a whole request may take bounds it all.
 * Node alone would close at once. To bytes that come after that the kernel answers with a reset, which takes from the client what
 * it has not read yet, and fails it before it reads at all if it is still sending: it would never learn why it was
 * refused (RFC 9112, section 9.6).
 */
export const registerLingeringClose = (
  app: FastifyInstance,
  { silentMs, loopTurns }: { silentMs: number; loopTurns: LoopTurns },
): void => {
  const linger = (request: IncomingMessage): void => {
    const { socket } = request
    // Node calls it behind the last answer of a connection, and not where another request may follow.
    socket.destroySoon = () => {
      socket.end()
      socket.setTimeout(silentMs)
      request.once('end', () => socket.destroy())
    }
    request.once('end', () => delete (socket as Partial<typeof socket>).destroySoon)
    // Thrown away, a piece at a time, also where a parser has begun to read it and given up. Of an ended one nothing comes.
    const party = { tenantId: 'strangers', caller: socket.remoteAddress ?? null }
    readInTurns(request, party, { loopTurns, take: () => undefined, fail: () => socket.destroy() })
  }
  const watch = (request: IncomingMessage, response: ServerResponse): void => {
    // First: Node's own listener decides on the connection.
    response.prependOnceListener('finish', () => {
      if (!request.complete) linger(request)
    })
  }
  // Of the second kind are those that `refuseExpectation` answers: each request is one or the other.
  for (const kind of ['request', 'checkExpectation']) app.server.prependListener(kind, watch)
}
