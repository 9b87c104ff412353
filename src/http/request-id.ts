import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** What is safe to repeat in headers and logs. */
const ACCEPTABLE = /^[A-Za-z0-9._-]{1,128}$/

/** The caller's own `x-request-id` where it can be repeated safely, else a new one. */
export const requestIdOf = ({ headers }: Pick<IncomingMessage, 'headers'>): string => {
  const given = headers['x-request-id']
  return typeof given === 'string' && ACCEPTABLE.test(given) ? given : randomUUID()
}
