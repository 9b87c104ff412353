export { createClient } from './client.ts'
export * from './deprecated.ts'
export { HeadwayProblem } from './problem.ts'
export type * from './types.ts'
