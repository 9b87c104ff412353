import { classifyFailure } from '../database/failures.ts'
import { HeadwayError } from '../errors.ts'
import { refusalOfData } from './refusals.ts'

const CONFLICT_RETRIES = 3

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

/** Runs a use case; a deadlock or serialization failure did nothing and is tried again. Raises only refusals, and defects as they are. */
export const run = async <T>(useCase: () => Promise<T>): Promise<T> => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await useCase()
    } catch (error) {
      if (!(error instanceof HeadwayError) && classifyFailure(error) === 'conflict' && attempt <= CONFLICT_RETRIES)
        continue
      throw toRefusal(error)
    }
  }
}
