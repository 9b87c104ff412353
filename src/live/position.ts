/**
 * A point in the order of commits, taken from a snapshot of the database: every transaction below `floor` is over, except those
 * in `open`. A reader has missed the changes that were committed since its position, whatever times are written in the rows: a
 * transaction may have written them long before its commit.
 * https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
 */
export interface CommitPosition {
  floor: number
  /** Ascending. */
  open: readonly number[]
}

/**
 * How many open transactions a position names. If more are open, the oldest of the others is the floor: newer transactions
 * count as not seen, and their changes are shown once more. The number is small, because the position is part of every event
 * id.
 */
const MAX_OPEN = 4

/** From `pg_current_snapshot()`: `xmin:xmax:xip,xip,…`. */
export const positionOf = (snapshot: string): CommitPosition => {
  const [, xmax, xip = ''] = snapshot.split(':')
  const open = xip === '' ? [] : xip.split(',').map(Number)
  open.sort((a, b) => a - b)
  return { floor: open[MAX_OPEN] ?? Number(xmax), open: open.slice(0, MAX_OPEN) }
}

/** The position up to which both have seen everything. */
export const olderOf = (a: CommitPosition, b: CommitPosition): CommitPosition => {
  const [older, newer] = a.floor <= b.floor ? [a, b] : [b, a]
  const open = [...new Set([...older.open, ...newer.open.filter(transaction => transaction < older.floor)])]
  open.sort((x, y) => x - y)
  return { floor: open[MAX_OPEN] ?? older.floor, open: open.slice(0, MAX_OPEN) }
}

/** Whether the commits since `position` include all commits since `other`. */
export const covers = (position: CommitPosition, other: CommitPosition): boolean =>
  position.floor <= other.floor &&
  other.open.every(transaction => transaction >= position.floor || position.open.includes(transaction))
