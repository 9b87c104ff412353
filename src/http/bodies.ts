import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HeadwayError } from '../errors.ts'

/** Deep enough for any payload; shallow enough that no recursive reader of it, ours or Postgres', runs out of stack. */
export const MAX_JSON_DEPTH = 32

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Where the string that begins at `start` ends, or the end of the text. */
const endOfString = (text: string, start: number): number => {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return end
  }
  return text.length
}

/** One pass over the text, before anything recursive sees it. Knows strings, and nothing else of JSON. */
export const nestsDeeperThan = (limit: number, text: string): boolean => {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at)
    if (character === QUOTE) at = endOfString(text, at)
    else if (character === 0x7b || character === 0x5b) {
      if (++depth > limit) return true
    } else if (character === 0x7d || character === 0x5d) depth--
  }
  return false
}

const refuse = (message: string) =>
  new HeadwayError('validation_failed', message, { errors: [{ path: '', message: message.replace(/\.$/, '') }] })

/** Parses a body that must be a JSON object. Raises `validation_failed`. */
export const parseJsonObject = (body: Buffer): object => {
  if (!isUtf8(body)) throw refuse('The body is not valid UTF-8.')
  const text = body.toString('utf8')
  if (nestsDeeperThan(MAX_JSON_DEPTH, text)) throw refuse(`The body is nested deeper than ${MAX_JSON_DEPTH} levels.`)
  let value: unknown
  try {
    // Some editors and shells put a byte order mark first; RFC 8259 lets a parser ignore it.
    value = JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text)
  } catch {
    throw refuse('The body is not valid JSON.')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse('The body must be a JSON object.')
  }
  return value
}

const isJson = (contentType: string | undefined): boolean =>
  contentType !== undefined && /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(contentType)

/**
 * One parser for every content type: an empty body is `{}` whatever it claims to be (`curl -d ''` calls it a form), and
 * anything else must be JSON and say so. JSON under the name of a form or of plain text stays refused: those are the
 * types a foreign web page may send without asking first (Fetch Standard, "CORS-safelisted request-header").
 */
export const registerBodyParser = (app: FastifyInstance): void => {
  app.removeAllContentTypeParsers()
  // JSON by its name as well: Fastify reads the header anew for every body that only `*` takes.
  const types = ['application/json', '*']
  app.addContentTypeParser(types, { parseAs: 'buffer' }, (request: FastifyRequest, body: Buffer, done) => {
    if (body.length === 0) {
      done(null, {})
      return
    }
    if (!isJson(request.headers['content-type'])) {
      done(
        new HeadwayError(
          'unsupported_media_type',
          "A body must be JSON and say so: add -H 'content-type: application/json'. An empty body needs no content type.",
        ),
      )
      return
    }
    try {
      done(null, parseJsonObject(body))
    } catch (error) {
      done(error as Error)
    }
  })
}

/**
 * An empty body has no type to be wrong about, not even an unreadable one: Fastify would refuse that before any parser. A
 * chunked body may yet prove empty: under a type that can be read, it is the parser above that decides.
 */
export const forgetTypeOfEmptyBody = ({ headers }: FastifyRequest): void => {
  const { 'content-type': type } = headers
  if (type === undefined) return
  if (headers['content-length'] === '0') delete headers['content-type']
  else if ('transfer-encoding' in headers && !isJson(type)) headers['content-type'] = 'application/octet-stream'
}
