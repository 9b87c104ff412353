import type { Problem } from '../data/reading.ts'
import { text } from '../words.ts'

const KNOWN = [
  'unreachable',
  'unauthenticated',
  'forbidden',
  'job_not_found',
  'already_finished',
  'not_cancellable',
  'not_retryable',
] as const

/** What went wrong, in the visitor's language; what is not expected here, as the service says it. */
export const problemText = ({ code, detail }: Problem): string => {
  const known = KNOWN.find(each => each === code)
  return known === undefined ? detail : text(`problem.${known}`)
}
