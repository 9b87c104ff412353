/** What commands read and write, and what they leave to others. */
export interface Surroundings {
  environment: NodeJS.ProcessEnv
  out: (text: string) => void
  err: (text: string) => void
  /** Starts the service. */
  serve: () => Promise<unknown>
  /** What the process ends with, where it is not what commander or an error says. */
  exit: (code: number) => void
}
