import { parentPort, workerData } from 'node:worker_threads'
import { compilePattern, matchIn, type PatternMatch } from './pattern.ts'

const expression = compilePattern(workerData as string)

/**
 * Answers each line with the match of the pattern. It runs in a thread, because a pattern may take for ever and a thread can be
 * terminated.
 */
parentPort?.on('message', (lines: string[]) => {
  const matches: (PatternMatch | null)[] = lines.map(line => matchIn(expression, line))
  parentPort?.postMessage(matches)
})
// The message begins the measurement of time, so that the start of the thread does not count.
parentPort?.postMessage('ready')
