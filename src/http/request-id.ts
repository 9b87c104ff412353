import { HEADER } from '../contract/http.ts'
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** What is safe to repeat in headers and logs. */
const ACCEPTABLE = /^[A-Za-z0-9._-]{1,128}$/

/**
 * Names requests: by the caller's own `x-request-id` where it can be repeated safely, else by a new id. New ones share a
 * random beginning, which no other server has, and are counted from there: a UUID for each costs 5 % of a heartbeat.
 */
export const createRequestIds = (): ((request: Pick<IncomingMessage, 'headers'>) => string) => {
  const beginning = randomUUID().slice(0, 18)
  let given = 0
  return ({ headers }) => {
    const own = headers[HEADER.requestId]
    if (typeof own === 'string' && ACCEPTABLE.test(own)) return own
    given += 1
    return `${beginning}-${given}`
  }
}
