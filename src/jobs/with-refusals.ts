import { classifyFailure } from '../database/failures.ts'
import { HeadwayError } from '../contract/errors.ts'
import { refusalOfData } from './refusals.ts'

/** The refusal that a failed statement means for the caller. Each use case is one statement, so nothing is stored in part. */
const toRefusal = (error: unknown): unknown => {
  if (error instanceof HeadwayError) return error
  const kind = classifyFailure(error)
  if (kind === 'defect') return error
  if (kind === 'data') return refusalOfData(error)
  return new HeadwayError('database_unavailable', 'The database cannot be reached or is busy: try again.', {
    retryAfterSeconds: 1,
    cause: error,
  })
}

/** Runs a use case. Raises only refusals and defects. Conflicts have been retried before they get here. */
export const withRefusals = async <T>(useCase: () => Promise<T>): Promise<T> => {
  try {
    return await useCase()
  } catch (error) {
    throw toRefusal(error)
  }
}
