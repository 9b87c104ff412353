import { HEADER } from '../contract/http.ts'
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** Ids that are safe to repeat in headers and logs. */
const ACCEPTABLE = /^[A-Za-z0-9._-]{1,128}$/

/**
 * Answers the id of a request: the caller's own `x-request-id` if it is safe to repeat, otherwise a new id. New ids share a
 * random beginning that no other server has, and end with a number: a UUID for each request would cost 5 % of a heartbeat.
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
