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

/** What the service may say of any call while it is short of something. */
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

/** What went wrong, in the visitor's language; what is not expected here, as the service says it. */
export const problemText = ({ code, detail }: Problem): string => {
  const known = KNOWN.find(each => each === code) ?? (Object.hasOwn(PASSING, code) ? PASSING[code] : undefined)
  return known === undefined ? detail : text(`problem.${known}`)
}
