import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { DashboardFile } from '../dashboard-files.ts'
import { protectPages } from '../pages.ts'
import type { Allowed } from '../pages.ts'

/**
 * Files with addresses that stay the same. The pages of the dashboard are one document, which reads its own address. The
 * document exists twice, because it names its files relative to its address. Pages of other programs load elements.js.
 */
const LASTING: Readonly<Record<string, readonly string[]>> = {
  'index.html': ['/', '/statistics'],
  'job.html': ['/jobs/:id'],
  'elements.js': ['/elements.js'],
}

/** Its own files and the API. Only Lit turns text into markup, and it escapes what it is given. */
const ALLOWED: Allowed = {
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  connectSrc: ["'self'"],
  requireTrustedTypesFor: ["'script'"],
  trustedTypes: ['lit-html'],
}

/** The names of the other files change with their contents. */
const FOR_EVER = 'public, max-age=31536000, immutable'

const send = (request: FastifyRequest, reply: FastifyReply, file: DashboardFile, caching: string): FastifyReply => {
  reply.header('etag', file.etag).header('cache-control', caching)
  if (request.headers['if-none-match'] === file.etag) return reply.code(304).send()
  return reply.type(file.type).send(file.content)
}

/** The pages of the dashboard. They contain no data and need no token; they read their data from the API. */
export const dashboardRoutes = async (
  app: FastifyInstance,
  { files }: { files: readonly DashboardFile[] },
): Promise<void> => {
  await protectPages(app, ALLOWED)
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
