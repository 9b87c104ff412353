import type { JobEvent } from '../../contract/job.ts'

/**
 * How long each stage took in the last attempt of a job's history, in seconds, by name; the present stage as far as it is by
 * `endMs`. A stage that was entered twice has both times together. Stages that were skipped are absent.
 */
export const stageSeconds = (changes: readonly JobEvent[], endMs: number): ReadonlyMap<string, number> => {
  const times = new Map<string, number>()
  let present: { name: string; sinceMs: number } | null = null
  const leave = (atMs: number): void => {
    if (present === null) return
    const seconds = Math.max(0, atMs - present.sinceMs) / 1000
    times.set(present.name, (times.get(present.name) ?? 0) + seconds)
    present = null
  }
  for (const { type, at, data } of changes) {
    const atMs = Date.parse(at)
    if (type === 'retried') {
      times.clear()
      present = null
    } else if (type === 'stage_changed' && typeof data['stage'] === 'string') {
      leave(atMs)
      present = { name: data['stage'], sinceMs: atMs }
    } else if (type === 'completed' || type === 'failed' || type === 'cancelled') leave(atMs)
  }
  leave(endMs)
  return times
}
