import { HEADER } from '../contract/http.ts'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'

/**
 * Headers that may come once only. If one comes in several lines, Node keeps the first line or joins them, and a proxy in front
 * of the service may use another one. Lists (`Accept`, `Prefer`, `X-Forwarded-For` and so on) may come in several lines (RFC
 * 9110, section 5.3).
 */
const SAID_ONCE = new Set([
  'authorization',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  HEADER.idempotencyKey,
  'if-none-match',
  HEADER.lastEventId,
  'mcp-protocol-version',
  'mcp-session-id',
  'origin',
  'sec-fetch-site',
  'transfer-encoding',
])

const refuse = (path: string, message: string) =>
  new HeadwayError('validation_failed', `The header ${path} ${message}.`, { errors: [{ path, message }] })

const refuseRepeated = (rawHeaders: readonly string[]): void => {
  const seen = new Set<string>()
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]?.toLowerCase() ?? ''
    if (seen.has(name) && SAID_ONCE.has(name)) throw refuse(name, 'must not come more than once')
    seen.add(name)
  }
}

/** RFC 3986, section 3.2.2, without commas, because a list is no host. Empty where a target has no authority. */
const HOST = /^(?:\[[\da-f:.]+\]|[\w.~%!$&'()*+;=-]*)(?::\d{0,5})?$/i

/** The absolute form of a target, as a client sends it to a proxy (RFC 9112, section 3.2.2). */
const ABSOLUTE = /^(https?):\/\/([^/?#]*)/i

const withoutDefaultPort = (authority: string, scheme: string): string =>
  authority.toLowerCase().replace(scheme.toLowerCase() === 'http' ? /:80$/ : /:443$/, '')

/** A target that names a host must name that of the Host header: a proxy may use one of the two, and the service the other. */
const refuseForeignTarget = (url: string, host: string | undefined): void => {
  const [, scheme = '', authority = ''] = ABSOLUTE.exec(url) ?? []
  if (withoutDefaultPort(authority, scheme) === withoutDefaultPort(host ?? '', scheme)) return
  throw new HeadwayError(
    'misdirected_request',
    'The request line names another host than the header Host: send the path alone, or the same host in both.',
  )
}

/** Whether a query can be decoded. Different readers take different texts from a query that cannot. */
const isEncodedText = (query: string): boolean => {
  try {
    decodeURIComponent(query)
    return true
  } catch {
    return false
  }
}

const refuseTarget = (url: string, host: string | undefined): void => {
  // A fragment is not sent by a client that follows a link (RFC 9110, section 7.1). Some readers would take it for a part of
  // the path.
  if (url.includes('#')) {
    throw new HeadwayError('validation_failed', 'The address must not have a fragment: write # as %23.')
  }
  const query = url.indexOf('?')
  if (query !== -1 && url.includes('%', query) && !isEncodedText(url.slice(query + 1))) {
    throw new HeadwayError('validation_failed', 'The query is not valid percent-encoded UTF-8.')
  }
  if (!url.startsWith('/')) {
    if (ABSOLUTE.test(url)) refuseForeignTarget(url, host)
    else throw new HeadwayError('route_not_found', 'Nothing is there: see /docs.')
  }
}

/** The only transfer coding that is supported is `chunked`. Node itself refuses it together with a length. */
const refuseTransferEncoding = (encoding: string | undefined, httpVersion: string): void => {
  if (encoding === undefined) return
  if (encoding.toLowerCase() !== 'chunked') throw refuse('transfer-encoding', 'must be chunked, or absent')
  if (httpVersion !== '1.1') throw refuse('transfer-encoding', 'is not known to HTTP/1.0')
}

/**
 * Refuses a request that two readers may understand in different ways, before the service has read it: headers that come twice,
 * a host in the request line that differs from the Host header, text that cannot be decoded. Node's parser refuses other cases
 * itself as `malformed_request`: a length besides `chunked`, two lengths, folded lines, bare line feeds.
 */
export const refuseAmbiguous = ({ headers, raw }: FastifyRequest): void => {
  const { rawHeaders, url = '', httpVersion } = raw
  // Nearly every request has as many header names as lines.
  if (Object.keys(headers).length * 2 < rawHeaders.length) refuseRepeated(rawHeaders)
  const { host, 'transfer-encoding': transferEncoding } = headers
  if (host !== undefined && !HOST.test(host)) throw refuse('host', 'must be a host, with or without a port')
  refuseTransferEncoding(transferEncoding, httpVersion)
  refuseTarget(url, host)
}

/** Makes Node hand over every header that it accepts, 16 KB in all. By default it silently drops those after the 2,000th. */
export const keepEveryHeader = (app: FastifyInstance): void => {
  app.server.maxHeadersCount = 0
}
