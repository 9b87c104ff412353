import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { codingFor } from '../content-coding.ts'
import type { DashboardFile } from '../dashboard-files.ts'
import { protectPages } from '../pages.ts'
import type { Allowed } from '../pages.ts'

/**
 * Files with addresses that stay the same. The pages of the dashboard are one document, which reads its own address. The
 * document exists twice, because it names its files relative to its address. Pages of other programs load elements.js.
 */
const LASTING: Readonly<Record<string, readonly string[]>> = {
  'index.html': ['/', '/statistics', '/types', '/notifications'],
  'job.html': ['/jobs/:id'],
  'elements.js': ['/elements.js'],
}

/** Its own files and the API. Only Lit turns text into markup, and it escapes what it is given. */
const ALLOWED: Allowed = {
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  // The icon of a tab that shows a job is drawn by the page.
  imgSrc: ["'self'", 'data:'],
  connectSrc: ["'self'"],
  requireTrustedTypesFor: ["'script'"],
  trustedTypes: ['lit-html'],
}

/** The names of the other files change with their contents. */
const FOR_EVER = 'public, max-age=31536000, immutable'

/** Scripts and styles. Drawings count as documents, because they may be opened by themselves. */
const isPartOfPage = ({ type }: DashboardFile): boolean => /^text\/(?:javascript|css)\b/.test(type)

/** What browsers read of parts of a page as well. The headers of documents would be half a kilobyte for each part. */
const protectParts = (scope: FastifyInstance): void => {
  scope.addHook('onRequest', async (_request, reply) => {
    reply.headers({
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    })
  })
}

const send = (request: FastifyRequest, reply: FastifyReply, file: DashboardFile, caching: string): FastifyReply => {
  const accepted = request.headers['accept-encoding']
  const coding = codingFor(Array.isArray(accepted) ? accepted.join() : accepted, each => each in file.compressed)
  const { content, etag } = (coding && file.compressed[coding]) ?? file
  // Caches must not hand one coding to a client that asked for another.
  const vary = [reply.getHeader('vary') ?? [], 'accept-encoding'].flat().join(', ')
  reply.header('etag', etag).header('cache-control', caching).header('vary', vary)
  if (request.headers['if-none-match'] === etag) return reply.code(304).send()
  if (coding !== null) reply.header('content-encoding', coding)
  return reply.type(file.type).send(content)
}

const addRoutes = (app: FastifyInstance, files: readonly DashboardFile[]): void => {
  for (const file of files) {
    const lasting = LASTING[file.name]
    const caching = lasting ? 'no-cache' : FOR_EVER
    for (const url of lasting ?? [`/dashboard/${file.name}`]) {
      app.route({
        method: 'GET',
        url,
        schema: { hide: true },
        config: { answersWithFile: true },
        handler: async (request, reply) => send(request, reply, file, caching),
      })
    }
  }
}

/** The pages of the dashboard. They contain no data and need no token; they read their data from the API. */
export const dashboardRoutes = async (
  app: FastifyInstance,
  { files }: { files: readonly DashboardFile[] },
): Promise<void> => {
  await app.register(async parts => {
    protectParts(parts)
    addRoutes(parts, files.filter(isPartOfPage))
  })
  await app.register(async documents => {
    await protectPages(documents, ALLOWED)
    addRoutes(
      documents,
      files.filter(file => !isPartOfPage(file)),
    )
  })
}
