import { parentPort, workerData } from 'node:worker_threads'
import { compilePattern, matchIn, type PatternMatch } from './pattern.ts'

const expression = compilePattern(workerData as string)

/** Answers lines with what a pattern finds in each. A pattern may take for ever, and a thread can be ended. */
parentPort?.on('message', (lines: string[]) => {
  const matches: (PatternMatch | null)[] = lines.map(line => matchIn(expression, line))
  parentPort?.postMessage(matches)
})
// The time to begin is none of the pattern's.
parentPort?.postMessage('ready')
