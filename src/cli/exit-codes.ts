/** The exit codes of `headway`. `run` exits with the code of its command instead. */
export const EXIT = {
  /** The command has succeeded; a job that was watched or waited for has completed. */
  ok: 0,
  /** The job has failed. */
  failed: 1,
  /** The arguments are wrong, or the service refuses the call: trying again will not help. */
  usage: 2,
  /** The job was cancelled. */
  cancelled: 3,
  /** The service cannot be reached. */
  unavailable: 4,
  /** The time of `--timeout` has passed. */
  timeout: 5,
} as const

export const EXIT_CODES_HELP = `
Exit codes: 0 completed, 1 failed, 2 the call is wrong or refused, 3 cancelled, 4 the service cannot be reached, 5 time is up.
`

const CODES: Record<string, number> = { completed: EXIT.ok, failed: EXIT.failed, cancelled: EXIT.cancelled }

/** The exit code for jobs that have ended: that of the worst one. */
export const codeOf = (statuses: readonly string[]): number => {
  const codes = statuses.map(status => CODES[status] ?? EXIT.failed)
  return codes.find(code => code === EXIT.failed) ?? codes.find(code => code !== EXIT.ok) ?? EXIT.ok
}
