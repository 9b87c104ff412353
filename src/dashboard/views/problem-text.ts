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

/** Codes with which the service may refuse any call while it lacks resources. */
const PASSING: Readonly<Record<string, 'busy' | 'trouble'>> = {
  overloaded: 'busy',
  rate_limited: 'busy',
  too_much_in_flight: 'busy',
  too_many_streams: 'busy',
  database_unavailable: 'trouble',
  internal_error: 'trouble',
  keys_unavailable: 'trouble',
  outcome_unknown: 'trouble',
  shutting_down: 'trouble',
}

/** A problem in the visitor's language. An unexpected problem is shown in the service's words. */
export const problemText = ({ code, detail }: Problem): string => {
  const known = KNOWN.find(each => each === code) ?? (Object.hasOwn(PASSING, code) ? PASSING[code] : undefined)
  return known === undefined ? detail : text(`problem.${known}`)
}
