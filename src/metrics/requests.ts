import { Histogram, type Registry } from 'prom-client'
import type { AnsweredRequest } from '../http/request-times.ts'

/** Few buckets, because each is a series per method, route and status. */
const BUCKETS_SECONDS = [0.005, 0.025, 0.1, 0.5, 2.5]

/** One observation costs about 0.4 µs, which is under 1 % of a heartbeat (docs/decisions/0009-metrics-and-pressure.md). */
export const createRequestTimes = (registry: Registry): ((request: AnsweredRequest) => void) => {
  const seconds = new Histogram({
    name: 'headway_http_request_duration_seconds',
    help: 'Requests by route and status, and how long they took. Without streams, and without answers held by Prefer: wait',
    labelNames: ['method', 'route', 'status'],
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  })
  return ({ method, route, status, ms }) => seconds.observe({ method, route, status }, ms / 1000)
}
