export { HeadwayProblem } from '../client/index.ts'
export type * from '../client/types.ts'
export { useProgress } from './use-progress.ts'
export type { UseProgressOptions, UseProgressResult } from './use-progress.ts'
