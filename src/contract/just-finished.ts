/**
 * How long (s) a finished job is shown beside the running jobs, by the service's clock. A failure is shown for longer, so that
 * it can be read. The first snapshot of a stream goes back as far, so a page that is reloaded shows the same jobs.
 */
export const JUST_FINISHED_SECONDS = { completed: 30, cancelled: 30, failed: 60 } as const

/** No view shows a job that finished earlier as just finished. */
export const LONGEST_JUST_FINISHED_SECONDS = Math.max(...Object.values(JUST_FINISHED_SECONDS))
