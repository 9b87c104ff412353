/**
 * How long (s) what has finished is shown beside what runs, by the clock of the service. A failure is there to be read. The first
 * snapshot of a stream holds as much as pages show: a page that is loaded again shows the same.
 */
export const JUST_FINISHED_SECONDS = { completed: 30, cancelled: 30, failed: 60 } as const

/** What finished before that is shown nowhere as just finished. */
export const LONGEST_JUST_FINISHED_SECONDS = Math.max(...Object.values(JUST_FINISHED_SECONDS))
