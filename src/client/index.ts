export { createHeadway } from './client.ts'
export { HeadwayProblem } from './problem.ts'
export type * from './types.ts'
