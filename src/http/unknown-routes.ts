import type { FastifyInstance, HTTPMethods } from 'fastify'
import { HeadwayError } from '../errors.ts'

const METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

const pathOf = (url: string): string => url.split('?', 1)[0] ?? url

/**
 * Answers 404 where no route is, and 405 with `Allow` where there is one for another method; before the body is read, so that
 * neither depends on what it holds. Call `closeMethods` when all routes are registered.
 */
export const registerUnknownRoutes = (app: FastifyInstance): { closeMethods: () => void } => {
  const methods = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method, schema }) => {
    // The pages of the documentation come with routes of their own making.
    if (schema?.operationId === undefined) return
    const known = methods.get(url) ?? new Set()
    for (const name of [method].flat()) known.add(name)
    methods.set(url, known)
  })
  app.addHook('onRequest', (request, _reply, done) => {
    if (!request.is404) done()
    else done(new HeadwayError('route_not_found', `Nothing is at ${pathOf(request.url)}: see /docs.`))
  })
  const closeMethods = () => {
    for (const [url, known] of [...methods]) {
      const others = METHODS.filter(method => !known.has(method))
      const allow = [...known].sort().join(', ')
      const refuse = () => {
        throw new HeadwayError('method_not_allowed', `This path takes only ${allow}.`)
      }
      app.route({
        method: others,
        url,
        schema: { hide: true },
        onRequest: (_request, reply, done) => {
          reply.header('allow', allow)
          done(new HeadwayError('method_not_allowed', `This path takes only ${allow}.`))
        },
        handler: refuse,
      })
    }
  }
  return { closeMethods }
}
