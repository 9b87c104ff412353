/**
 * The fields of a job's document that say which of its workers report. A service of an earlier version does not count
 * `stalled`.
 */
interface Heard {
  liveness?: string | null
  children?: { running: number; stalled?: number } | null
}

/** How many running partitions of a stalled batch are stalled, at least 1. 0 for every other job. */
export const stalledPartitionsOf = ({ liveness, children }: Heard): number =>
  liveness === 'stalled' && children ? Math.max(1, children.stalled ?? children.running) : 0

/**
 * Whether no worker of a running job reports. A batch is `stalled` as soon as one of its partitions is, because somebody should
 * look. It is silent only when all its running partitions are stalled. The service, browsers and terminals share this rule.
 */
export const isSilent = (job: Heard): boolean =>
  job.liveness === 'stalled' && (!job.children || stalledPartitionsOf(job) >= job.children.running)
