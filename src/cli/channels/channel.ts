import type { LineReport } from './line.ts'

/** A way by which a command tells how far it is, without its output. */
export interface Channel {
  /** What the command must find in its environment. */
  environment: Record<string, string>
  /** Takes what the command writes to its file descriptor 3. */
  onDescriptor?: (text: string) => void
  /** Takes nothing from the command any more, and leaves nothing behind. */
  close(): Promise<void>
}

export interface ChannelOptions {
  environment: NodeJS.ProcessEnv
  onReport: (report: LineReport) => void
  /** Called with a sentence about what cannot be read. */
  onProblem: (sentence: string) => void
}
