import { classifyFailure } from '../database/failures.ts'
import { HeadwayError } from '../contract/errors.ts'
import { refusalOfData } from './refusals.ts'

/** What a failed statement means for a caller. Nothing of it is half-written: each use case is one statement. */
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

/** Runs a use case. Raises only refusals, and defects as they are. Conflicts have been tried again before they come here. */
export const withRefusals = async <T>(useCase: () => Promise<T>): Promise<T> => {
  try {
    return await useCase()
  } catch (error) {
    throw toRefusal(error)
  }
}
