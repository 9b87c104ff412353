import {
  ABSOLUTE,
  ATTEMPT,
  CADENCE,
  CALM,
  COMPLETES,
  END_ONCE_MORE,
  GONE,
  ONE_AT_A_TIME,
  ONE_END,
  ORDER,
  REFUSED,
  REPORTS,
  RETRY_AFTER,
  STOPS,
  SUPERSEDED,
  TOKEN,
  type Rule,
} from './rules.ts'
import type { Call } from './call.ts'
import type { BadService, Trouble } from './service.ts'

/** One way in which the service behaves, and what a good worker does then. */
export interface Scenario {
  name: string
  /** What goes wrong. */
  sentence: string
  heartbeatIntervalMs?: number
  onCall?: (call: Call, nth: number, service: BadService) => Trouble | null
  /** How far the clock of the service is off, in milliseconds, after so many calls. */
  clockMs?: (calls: number) => number
  rules: readonly Rule[]
}

/** For reports alone: the nth, counted from 1. */
const atReport =
  (trouble: (nth: number, service: BadService) => Trouble | null): NonNullable<Scenario['onCall']> =>
  ({ kind }, nth, service) =>
    kind === 'report' ? trouble(nth, service) : null

const GARBAGE: readonly Trouble[] = [
  { kind: 'garbage', status: 200, type: 'text/html', text: '<html><body>Welcome to our network</body></html>' },
  { kind: 'garbage', status: 200, type: 'application/json', text: '{"jobId":' },
  { kind: 'garbage', status: 502, type: 'text/html', text: '<html><body>Bad gateway</body></html>' },
  { kind: 'refused', status: 500, code: 'internal_error' },
]

const DAY_MS = 86_400_000

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'good',
    sentence: 'Nothing goes wrong.',
    heartbeatIntervalMs: 2_000,
    rules: [REPORTS, TOKEN, ABSOLUTE, ATTEMPT, ORDER, CADENCE, CALM, COMPLETES, ONE_END],
  },
  {
    name: 'slow',
    sentence: 'Each answer takes a second and a half.',
    onCall: () => ({ kind: 'late', ms: 1_500 }),
    rules: [ONE_AT_A_TIME, ABSOLUTE, ORDER, COMPLETES, ONE_END],
  },
  {
    name: 'away',
    sentence: 'After the second report the service is away for three seconds.',
    onCall: atReport((nth, service) => {
      if (nth === 2) setTimeout(() => service.goAway(3_000), 100)
      return null
    }),
    rules: [COMPLETES, ABSOLUTE, ONE_END, CALM],
  },
  {
    name: 'lost',
    sentence: 'The answers to three reports are lost.',
    onCall: atReport(nth => (nth >= 2 && nth <= 4 ? { kind: 'lost', taken: nth !== 3 } : null)),
    rules: [COMPLETES, ABSOLUTE, ORDER, ONE_END, CALM],
  },
  {
    name: 'busy',
    sentence: 'Reports are answered 503 and 429, with Retry-After.',
    onCall: atReport(nth => {
      if (nth === 2) return { kind: 'refused', status: 503, code: 'overloaded', retryAfterSeconds: 2 }
      if (nth === 3) return { kind: 'refused', status: 429, code: 'rate_limited', retryAfterSeconds: 1 }
      return null
    }),
    rules: [RETRY_AFTER, COMPLETES, ABSOLUTE, ONE_END, CALM],
  },
  {
    name: 'kept',
    sentence: 'The database is away: the first three reports are answered 202.',
    onCall: atReport(nth => (nth <= 3 ? { kind: 'kept' } : null)),
    rules: [COMPLETES, ABSOLUTE, ONE_END, CALM],
  },
  {
    name: 'garbage',
    sentence: 'Something else answers: pages, half of a document, errors.',
    onCall: atReport(nth => GARBAGE[nth - 2] ?? null),
    rules: [COMPLETES, ABSOLUTE, ONE_END, CALM],
  },
  {
    name: 'clock',
    sentence: 'The clock of the service jumps a day ahead, and two back.',
    clockMs: calls => (calls < 3 ? 0 : calls < 6 ? DAY_MS : -DAY_MS),
    rules: [COMPLETES, ORDER, CADENCE, ONE_END, CALM],
  },
  {
    name: 'cancel',
    sentence: 'The third report is answered with cancelRequested.',
    onCall: atReport((nth, service) => {
      if (nth === 3) service.askToStop()
      return null
    }),
    rules: [STOPS, ONE_END, CALM],
  },
  {
    name: 'retry',
    sentence: 'At the third report another attempt has taken over.',
    onCall: atReport((nth, service) => {
      if (nth === 3) service.retry()
      return null
    }),
    rules: [SUPERSEDED, CALM],
  },
  {
    name: 'gone',
    sentence: 'From the third report on there is no such job.',
    onCall: ({ kind }, nth, { calls }) =>
      (kind === 'report' && nth >= 3) || calls.some(({ code }) => code === 'job_not_found')
        ? { kind: 'refused', status: 404, code: 'job_not_found' }
        : null,
    rules: [GONE, CALM],
  },
  {
    name: 'refused',
    sentence: 'From the second report on the token is refused.',
    onCall: ({ kind }, nth, { calls }) =>
      (kind === 'report' && nth >= 2) || calls.some(({ status }) => status === 401)
        ? { kind: 'refused', status: 401, code: 'unauthenticated' }
        : null,
    rules: [REFUSED],
  },
  {
    name: 'last word',
    sentence: 'The answer to the end is lost.',
    onCall: ({ kind }, nth) => (kind === 'complete' && nth === 1 ? { kind: 'lost', taken: true } : null),
    rules: [END_ONCE_MORE, CALM],
  },
]
