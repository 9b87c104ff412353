/**
 * A point in the order of commits, as a snapshot of the database sees it: every transaction below `floor` is over, except those
 * in `open`. What a reader has missed is what was committed since, whatever time is written in the rows: a transaction may have
 * written them long before its commit.
 * https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
 */
export interface CommitPosition {
  floor: number
  /** Ascending. */
  open: readonly number[]
}

/**
 * Transactions that a position names one by one. Of those that are open beyond these the oldest is the floor: everything that
 * is newer counts as not seen, which shows it once more. Few, because the position is part of every event id.
 */
const MAX_OPEN = 4

/** From `pg_current_snapshot()`: `xmin:xmax:xip,xip,…`. */
export const positionOf = (snapshot: string): CommitPosition => {
  const [, xmax, xip = ''] = snapshot.split(':')
  const open = xip === '' ? [] : xip.split(',').map(Number)
  open.sort((a, b) => a - b)
  return { floor: open[MAX_OPEN] ?? Number(xmax), open: open.slice(0, MAX_OPEN) }
}

/** What both have seen. */
export const olderOf = (a: CommitPosition, b: CommitPosition): CommitPosition => {
  const [older, newer] = a.floor <= b.floor ? [a, b] : [b, a]
  const open = [...new Set([...older.open, ...newer.open.filter(transaction => transaction < older.floor)])]
  open.sort((x, y) => x - y)
  return { floor: open[MAX_OPEN] ?? older.floor, open: open.slice(0, MAX_OPEN) }
}

/** Whether whoever is shown what was committed since `position` is shown all that was since `other`. */
export const covers = (position: CommitPosition, other: CommitPosition): boolean =>
  position.floor <= other.floor &&
  other.open.every(transaction => transaction >= position.floor || position.open.includes(transaction))
