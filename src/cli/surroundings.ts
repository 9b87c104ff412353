/** What commands read and write, and what they leave to their caller. */
export interface Surroundings {
  environment: NodeJS.ProcessEnv
  out: (text: string) => void
  err: (text: string) => void
  /** Whether `err` writes to a terminal; absent: it does not. */
  errIsTerminal?: boolean
  /** Starts the service. */
  serve: () => Promise<unknown>
  /** Sets the exit code, if it is not the one of commander or of an error. */
  exit: (code: number) => void
}
