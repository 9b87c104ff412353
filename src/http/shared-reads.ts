import type { Party } from '../turns/turns.ts'
import type { LoopTurns } from '../turns/loop-turns.ts'

/** How many callers of a shared read are answered in one turn of the event loop. */
const PER_TURN = 50

interface Sharer<Result> {
  resolve: (result: Result) => void
  reject: (error: unknown) => void
}

interface Queued {
  read: () => Promise<unknown>
  sharers: Sharer<unknown>[]
}

/**
 * Runs `read`, or joins callers who asked for the same key and whose read has not begun yet. The answers to the callers count as
 * work of `party` in the event loop.
 */
export type SharedRead = <Result>(party: Party, key: string, read: () => Promise<Result>) => Promise<Result>

const nextTurn = () => new Promise<void>(resolve => setImmediate(resolve))

/**
 * Lets callers who ask for the same at the same time share one read. At most one read of a key is in flight. All callers who
 * ask meanwhile share the next one, which begins after they have asked. Results are not kept. The callers are answered in small
 * groups: the first one at once, the others in turns of the event loop, so that a thousand answers do not block the process.
 */
export const createSharedRead = (loopTurns: Pick<LoopTurns, 'runPatiently'>): SharedRead => {
  const queued = new Map<string, Queued>()
  const underWay = new Set<string>()

  const run = async (party: Party, key: string): Promise<void> => {
    underWay.add(key)
    // Together with callers who ask in this turn: a change wakes all who wait for it at once.
    await nextTurn()
    const { read, sharers } = queued.get(key) as Queued
    queued.delete(key)
    const goOn = await read().then(
      result => (sharer: Sharer<unknown>) => sharer.resolve(result),
      (error: unknown) => (sharer: Sharer<unknown>) => sharer.reject(error),
    )
    if (queued.has(key)) void run(party, key)
    else underWay.delete(key)
    for (let from = 0; from < sharers.length; from += PER_TURN) {
      const answer = async () => {
        for (const sharer of sharers.slice(from, from + PER_TURN)) goOn(sharer)
        await nextTurn()
      }
      if (from === 0) await answer()
      else await loopTurns.runPatiently(party, answer)
    }
  }

  return <Result>(party: Party, key: string, read: () => Promise<Result>) =>
    new Promise<Result>((resolve, reject) => {
      const sharer = { resolve, reject } as Sharer<unknown>
      const others = queued.get(key)
      if (others) {
        others.sharers.push(sharer)
        return
      }
      queued.set(key, { read, sharers: [sharer] })
      if (!underWay.has(key)) void run(party, key)
    })
}
