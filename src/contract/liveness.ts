/** As much of a job's document as says who of it is heard of. A service of an earlier version does not count `stalled`. */
interface Heard {
  liveness?: string | null
  children?: { running: number; stalled?: number } | null
}

/** Of a batch that is stalled: how many of its running partitions are, at least 1. Of every other job 0. */
export const stalledPartitionsOf = ({ liveness, children }: Heard): number =>
  liveness === 'stalled' && children ? Math.max(1, children.stalled ?? children.running) : 0

/**
 * Whether nobody is heard of who works on a running job. A batch is `stalled` as soon as one of its partitions is, since
 * somebody should look; its work goes on until all that run are. The service, browsers and terminals share this rule.
 */
export const isSilent = (job: Heard): boolean =>
  job.liveness === 'stalled' && (!job.children || stalledPartitionsOf(job) >= job.children.running)
