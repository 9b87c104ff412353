import type { FastifyRequest } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'

const LOOPBACK_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i

/**
 * Keeps web pages out of a service without authentication on a loopback address. A browser on this machine can reach the
 * service, and so can every page in that browser: by a name that the page's owner points at 127.0.0.1 (DNS rebinding,
 * recognised by the Host header), or by a request to another origin (recognised by Origin and Sec-Fetch-Site, which pages
 * cannot forge). Pages of `allowedOrigins` may call.
 */
export const refuseWebPages = (allowedOrigins: readonly string[]) => {
  const allowed = new Set(allowedOrigins)
  return ({ headers }: FastifyRequest): void => {
    const { host, origin } = headers
    if (host === undefined || !LOOPBACK_HOST.test(host)) {
      throw new HeadwayError(
        'misdirected_request',
        'Without authentication Headway answers only to localhost, 127.0.0.1 and [::1]: use one of them as host.',
      )
    }
    if (origin !== undefined && allowed.has(origin)) return
    const foreign = origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`
    if (foreign || headers['sec-fetch-site'] === 'cross-site') {
      throw new HeadwayError(
        'forbidden',
        'Without authentication Headway answers no other web site than those of CORS_ORIGIN.',
      )
    }
  }
}

/** HTTP/1.1 requires a server to refuse a request without a Host header (RFC 9112, section 3.2). */
export const requireHost = ({ headers, raw }: FastifyRequest): void => {
  if (headers.host !== undefined || raw.httpVersion !== '1.1') return
  throw new HeadwayError('validation_failed', 'The header Host is missing.', {
    errors: [{ path: 'host', message: 'is missing' }],
  })
}
