import type { Readable } from 'node:stream'
import type { Party } from '../turns/turns.ts'
import { Pieces } from '../turns/pieces.ts'
import type { LoopTurns, Turn } from '../turns/loop-turns.ts'

/**
 * Reads a stream in turns of `party`. A turn reads as much of what has arrived as it has time for. The rest waits at the sender.
 * `take` gets each piece. `fail` gets an error that `take` raises, or `overloaded` if no turn came in time. Answers a function
 * that stops the reading.
 */
export const readInTurns = (
  stream: Readable,
  party: Party,
  { loopTurns, take, fail }: { loopTurns: LoopTurns; take: (piece: Buffer) => void; fail: (error: Error) => void },
): (() => void) => {
  let isStopped = false
  // A stream says that it is readable when more has arrived, and does not say so again for what a turn has left. `read` gives all
  // that has arrived; since Node 26 it gives the first chunk of that, which may be a single byte.
  let waits = false
  const read = (turn: Turn) => {
    waits = false
    const time = new Pieces()
    while (!isStopped) {
      const piece = stream.read() as Buffer | null
      if (!piece) return
      turn.bytes += piece.length
      take(piece)
      if (stream.readableLength === 0) return
      if (time.isOver()) {
        goOn()
        return
      }
    }
  }
  const goOn = () => {
    if (waits) return
    waits = true
    loopTurns.run(party, read).catch(fail)
  }
  stream.on('readable', goOn)
  return () => {
    isStopped = true
    stream.off('readable', goOn)
  }
}
