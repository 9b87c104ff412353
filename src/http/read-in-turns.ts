import type { Readable } from 'node:stream'
import type { Party } from '../turns/turns.ts'
import type { LoopTurns } from './limits/loop-turns.ts'

/**
 * Reads a stream piece by piece, each in a turn of `party`. The rest waits at the sender. `take` gets each piece. `fail` gets
 * an error that `take` raises, or `overloaded` if no turn came in time. Answers a function that stops the reading.
 */
export const readInTurns = (
  stream: Readable,
  party: Party,
  { loopTurns, take, fail }: { loopTurns: LoopTurns; take: (piece: Buffer) => void; fail: (error: Error) => void },
): (() => void) => {
  let isStopped = false
  // A stream says that it is readable whenever more has arrived. One turn reads all of it.
  let waits = false
  const read = () => {
    waits = false
    if (isStopped) return
    const piece = stream.read() as Buffer | null
    if (piece) take(piece)
  }
  const onReadable = () => {
    if (waits) return
    waits = true
    loopTurns.run(party, read).catch(fail)
  }
  stream.on('readable', onReadable)
  return () => {
    isStopped = true
    stream.off('readable', onReadable)
  }
}
