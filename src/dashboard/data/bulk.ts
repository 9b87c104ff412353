import type { Problem } from './reading.ts'

/** Calls at a time: the service has others to answer as well. */
const AT_A_TIME = 4

export interface BulkFailure<Item> {
  item: Item
  problem: Problem
}

/**
 * Does something for each item, four at a time, and answers for which it did not work. `told` is called after each with the number
 * of those that are over. What fails does not stop the others.
 */
export const doForEach = async <Item>(
  items: readonly Item[],
  act: (item: Item) => Promise<unknown>,
  { problemOf, told }: { problemOf: (error: unknown) => Problem; told: (over: number) => void },
): Promise<BulkFailure<Item>[]> => {
  const failures = new Map<Item, Problem>()
  const left = items.values()
  let over = 0
  const work = async (): Promise<void> => {
    for (const item of left) {
      try {
        await act(item)
      } catch (error) {
        failures.set(item, problemOf(error))
      }
      over += 1
      told(over)
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, work))
  // In the order of the items, whichever failed first.
  return items.flatMap(item => {
    const problem = failures.get(item)
    return problem === undefined ? [] : [{ item, problem }]
  })
}
