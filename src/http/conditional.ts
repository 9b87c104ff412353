import type { FastifyReply, FastifyRequest } from 'fastify'

interface Versioned {
  id: string
  revision: number
}

/** Weak: two answers of one revision may differ in heartbeatAt, updatedAt, throughput and eta. */
export const etagOf = ({ id, revision }: Versioned): string => `W/"${id}.${revision}"`

const ENTITY_TAG = /(?:W\/)?"([^"]*)"/g

/** Whether the caller already has this revision: the weak comparison of RFC 9110, sections 8.8.3.2 and 13.1.2. */
export const alreadyHas = (ifNoneMatch: string | undefined, document: Versioned): boolean => {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  const tag = `${document.id}.${document.revision}`
  return [...ifNoneMatch.matchAll(ENTITY_TAG)].some(([, opaque]) => opaque === tag)
}

/** Answers with the document, or with 304 where the caller's `If-None-Match` says that it has this revision. */
export const sendVersioned = (
  request: FastifyRequest,
  reply: FastifyReply,
  document: Versioned,
  { always = false } = {},
): FastifyReply => {
  reply.header('etag', etagOf(document)).header('cache-control', 'no-cache')
  if (!always && alreadyHas(request.headers['if-none-match'], document)) return reply.code(304).send()
  return reply.send(document)
}
