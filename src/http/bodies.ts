import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'
import { holderOf, partyOf } from './answers-in-flight.ts'
import type { InFlight } from './limits/in-flight.ts'
import type { LoopTurns } from '../turns/loop-turns.ts'
import { readBody, SHORT_BODY } from './read-body.ts'
import { fieldPath } from './validation.ts'

/** Deeper than any sensible payload, and shallow enough that no recursive reader, here or in Postgres, runs out of stack. */
export const MAX_JSON_DEPTH = 32

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a

/** Where the string that begins at `start` ends, or the end of the text. */
const endOfString = (text: string, start: number): number => {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return end
  }
  return text.length
}

interface Shape {
  deepest: number
  /** Members of all objects in the text; a name that comes twice counts twice. */
  members: number
}

/**
 * Reads the text once before any recursive reader does, and stops below `limit`. It knows where strings begin and end, and no
 * more of JSON.
 */
const shapeOf = (limit: number, text: string): Shape => {
  let [depth, deepest, members] = [0, 0, 0]
  for (let at = 0; at < text.length && deepest <= limit; at++) {
    const character = text.charCodeAt(at)
    if (character === QUOTE) at = endOfString(text, at)
    else if (character === COLON) members += 1
    else if (character === 0x7b || character === 0x5b) deepest = Math.max(deepest, ++depth)
    else if (character === 0x7d || character === 0x5d) depth -= 1
  }
  return { deepest, members }
}

const membersOf = (value: unknown): number => {
  if (typeof value !== 'object' || value === null) return 0
  let members = 0
  if (Array.isArray(value)) for (const item of value) members += membersOf(item)
  else for (const key in value) members += 1 + membersOf((value as Record<string, unknown>)[key])
  return members
}

/** The colon after the name of a member. */
const NAME_END = /\s*:/y

/** The path of the first member whose name its object already has. `text` is JSON with such a member. */
const pathOfRepeated = (text: string): PropertyKey[] => {
  const open: { names: Set<string> | null; at: PropertyKey }[] = []
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    const inner = open.at(-1)
    if (character === '{' || character === '[') {
      open.push(character === '{' ? { names: new Set(), at: '' } : { names: null, at: 0 })
    } else if (character === '}' || character === ']') open.pop()
    else if (character === ',' && typeof inner?.at === 'number') inner.at += 1
    else if (character === '"') {
      const end = endOfString(text, at)
      NAME_END.lastIndex = end + 1
      if (inner?.names && NAME_END.test(text)) {
        inner.at = JSON.parse(text.slice(at, end + 1)) as string
        if (inner.names.has(inner.at)) return open.map(level => level.at)
        inner.names.add(inner.at)
      }
      at = end
    }
  }
  return []
}

const refuse = (message: string, path = '') =>
  new HeadwayError('validation_failed', `${path === '' ? '' : `${path} `}${message}.`, { errors: [{ path, message }] })

/**
 * Parses a body that must be a JSON object. Raises `validation_failed`, also where an object has a name twice: some readers
 * take the first of the two, others the last (RFC 8259, section 4).
 */
export const parseJsonObject = (body: Buffer): object => {
  if (!isUtf8(body)) throw refuse('The body is not valid UTF-8')
  const text = body.toString('utf8')
  const { deepest, members } = shapeOf(MAX_JSON_DEPTH, text)
  if (deepest > MAX_JSON_DEPTH) throw refuse(`The body is nested deeper than ${MAX_JSON_DEPTH} levels`)
  let value: unknown
  try {
    // Some editors and shells put a byte order mark first; RFC 8259 lets a parser ignore it.
    value = JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text)
  } catch {
    throw refuse('The body is not valid JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse('The body must be a JSON object')
  }
  if (membersOf(value) !== members) throw refuse('must not come more than once', fieldPath(pathOfRepeated(text)))
  return value
}

const isJson = (contentType: string | undefined): boolean =>
  contentType !== undefined && /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i.test(contentType)

const unsupported = (message: string) => new HeadwayError('unsupported_media_type', message)

const notJson = () =>
  unsupported(
    "A body must be JSON and say so: add -H 'content-type: application/json'. An empty body needs no content type.",
  )

/** The value of a header in a form that is safe in a message. */
const shown = (value: string): string => value.slice(0, 40).replace(/[^\x21-\x7e]/g, '?')

const CHARSET = /;\s*charset\s*(?:=\s*(?:"([^"]*)"|([^\s;]*)))?/gi

/** Refuses a body whose encoding or charset the service does not support. Raises `unsupported_media_type`, which names it. */
const refuseEncoded = ({ 'content-encoding': coding, 'content-type': type = '' }: IncomingHttpHeaders): void => {
  if (coding !== undefined && coding.trim().toLowerCase() !== 'identity') {
    throw unsupported(`A body in the encoding ${shown(coding)} is not read: send it without Content-Encoding.`)
  }
  if (type === 'application/json') return
  for (const [, quoted, plain = ''] of type.matchAll(CHARSET)) {
    const charset = quoted ?? plain
    if (/^utf-?8$/i.test(charset)) continue
    throw unsupported(`A body in the charset ${shown(charset) || '(none)'} is not read: JSON is UTF-8.`)
  }
}

/**
 * Registers one parser for every content type. An empty body is `{}` whatever its type says (`curl -d ''` calls it a form). Any
 * other body must be JSON and have a JSON type. JSON with the type of a form or of plain text is refused, because a foreign web
 * page may send those types without asking first (Fetch Standard, "CORS-safelisted request-header"). A body that has been read
 * counts as in flight for its caller until the answer is made.
 */
export const registerBodyParser = (app: FastifyInstance, inFlight: InFlight, loopTurns: LoopTurns): void => {
  const parse = (request: FastifyRequest, body: Buffer): object => {
    if (body.length > 0 && !isJson(request.headers['content-type'])) throw notJson()
    return body.length === 0 ? {} : parseJsonObject(body)
  }
  app.removeAllContentTypeParsers()
  // `application/json` is named besides `*`, because Fastify parses the header again for every body that only `*` matches.
  app.addContentTypeParser(['application/json', '*'], (request: FastifyRequest, payload, done) => {
    if (request.headers['content-length'] !== '0') refuseEncoded(request.headers)
    readBody(request, payload, { inFlight, loopTurns }, (error, body) => {
      if (error) {
        done(error)
        return
      }
      if (body.length > SHORT_BODY) {
        const parsed = loopTurns.run(partyOf(holderOf(request)), () => parse(request, body))
        void parsed.then(value => done(null, value), done)
        return
      }
      try {
        done(null, parse(request, body))
      } catch (refusal) {
        done(refusal as Error)
      }
    })
  })
}

/**
 * Removes the type of an empty body. Fastify would refuse an unreadable type before any parser runs, but an empty body needs no
 * type. A chunked body may be empty as well: it gets a type that Fastify accepts, and the parser above decides.
 */
export const forgetTypeOfEmptyBody = ({ headers }: FastifyRequest): void => {
  const { 'content-type': type } = headers
  if (type === undefined) return
  if (headers['content-length'] === '0') delete headers['content-type']
  else if ('transfer-encoding' in headers && !isJson(type)) headers['content-type'] = 'application/octet-stream'
}
