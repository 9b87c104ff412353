import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'

interface Versioned {
  id: string
  revision: number
}

/** A weak tag: two answers of the same revision may differ in heartbeatAt, updatedAt, throughput, eta and the workers. */
export const etagOf = ({ id, revision }: Versioned): string => `W/"${id}.${revision}"`

const ENTITY_TAG = /(?:W\/)?"([^"]*)"/g

/** The weak comparison of RFC 9110, sections 8.8.3.2 and 13.1.2. `tag` is a weak one, as of `etagOf`. */
export const hasTag = (ifNoneMatch: string | undefined, tag: string): boolean => {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  return [...ifNoneMatch.matchAll(ENTITY_TAG)].some(([, opaque]) => `W/"${opaque}"` === tag)
}

/** The newest revision of a job that an `If-None-Match` names; -1 when it names none. */
export const newestRevisionIn = (ifNoneMatch: string | undefined, id: string): number => {
  let newest = -1
  for (const [, opaque = ''] of (ifNoneMatch ?? '').matchAll(ENTITY_TAG)) {
    const revision = opaque.startsWith(`${id}.`) ? Number(opaque.slice(id.length + 1)) : NaN
    if (Number.isSafeInteger(revision) && revision > newest) newest = revision
  }
  return newest
}

/** Whether the caller already has this revision. */
export const alreadyHas = (ifNoneMatch: string | undefined, document: Versioned): boolean =>
  hasTag(ifNoneMatch, etagOf(document))

/** The tag of several documents: their ids in order, and the revision of each. */
const etagOfAll = (documents: readonly Versioned[]): string => {
  const hash = createHash('sha256')
  for (const { id, revision } of documents) hash.update(`${id}.${revision} `)
  return `W/"${hash.digest('base64url')}"`
}

/**
 * Answers with the document, or with 304 if the caller's `If-None-Match` names this revision. `json` is the document as bytes,
 * if it was encoded once for many callers.
 */
export const sendVersioned = (
  request: FastifyRequest,
  reply: FastifyReply,
  document: Versioned,
  { always = false, json }: { always?: boolean; json?: Buffer } = {},
): FastifyReply => {
  reply.header('etag', etagOf(document)).header('cache-control', 'no-cache')
  if (!always && alreadyHas(request.headers['if-none-match'], document)) return reply.code(304).send()
  if (json) return reply.type('application/json; charset=utf-8').send(json)
  return reply.send(document)
}

/** Answers with a body made of these documents, or with 304 if the caller has exactly these revisions. */
export const sendVersionedAll = (
  request: FastifyRequest,
  reply: FastifyReply,
  documents: readonly Versioned[],
  body: unknown,
): FastifyReply => {
  const etag = etagOfAll(documents)
  reply.header('etag', etag).header('cache-control', 'no-cache')
  return hasTag(request.headers['if-none-match'], etag) ? reply.code(304).send() : reply.send(body)
}
