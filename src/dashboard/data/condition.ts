export * from '../../client/condition.ts'
export { isFinished } from '../../client/documents.ts'
