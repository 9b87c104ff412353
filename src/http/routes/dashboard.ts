import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { DashboardFile } from '../dashboard-files.ts'
import { protectPages } from '../pages.ts'
import type { Allowed } from '../pages.ts'

/**
 * Files at addresses that stay the same. The pages of the dashboard are one document, which reads its address by itself; it is
 * there twice, since it names its files relative to where it is. The elements are named by pages of others.
 */
const LASTING: Readonly<Record<string, readonly string[]>> = {
  'index.html': ['/', '/statistics'],
  'job.html': ['/jobs/:id'],
  'elements.js': ['/elements.js'],
}

/** Its own files and the API. Text becomes markup through Lit alone, which escapes what it is given. */
const ALLOWED: Allowed = {
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  connectSrc: ["'self'"],
  requireTrustedTypesFor: ["'script'"],
  trustedTypes: ['lit-html'],
}

/** The names of the other files change with what they hold. */
const FOR_EVER = 'public, max-age=31536000, immutable'

const send = (request: FastifyRequest, reply: FastifyReply, file: DashboardFile, caching: string): FastifyReply => {
  reply.header('etag', file.etag).header('cache-control', caching)
  if (request.headers['if-none-match'] === file.etag) return reply.code(304).send()
  return reply.type(file.type).send(file.content)
}

/** The pages of the dashboard. They hold no data, so they need no token: what they show they ask the API for. */
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
