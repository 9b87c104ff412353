import type { Readable } from 'node:stream'
import type { Party } from '../turns/turns.ts'
import type { LoopTurns } from './limits/loop-turns.ts'

/**
 * Reads a stream a piece at a time, each piece in a turn of `party`; what has not been read waits with its sender. `take` gets
 * each piece. `fail` is told what `take` raises, and that no turn came (`overloaded`). Answers how to stop.
 */
export const readInTurns = (
  stream: Readable,
  party: Party,
  { loopTurns, take, fail }: { loopTurns: LoopTurns; take: (piece: Buffer) => void; fail: (error: Error) => void },
): (() => void) => {
  let isStopped = false
  // A stream says that it is readable whenever more has come. One turn is enough for all of it.
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
