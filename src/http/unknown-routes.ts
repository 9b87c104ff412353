import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'
import { sendMissingPage } from './missing-page.ts'

/** The path as the router sees it: without query and fragment. */
const pathOf = (url: string): string => url.split(/[?#]/, 1)[0] ?? url

/**
 * The part of the path that a message may repeat: after a semicolon, some clients put what belongs in the query, tokens
 * included.
 */
const shownOf = (path: string): string => path.split(';', 1)[0] ?? path

/** The paths that a route matches: `:id` is one part of a path. */
const patternOf = (url: string): RegExp =>
  new RegExp(`^${url.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:\w+/g, '[^/]+')}$`)

/**
 * Answers 404 if there is no route for a path, and 405 with `Allow` if there is one for another method, also for methods that
 * only WebDAV has. It answers before the body is read, so the answer does not depend on the body. A browser that asks for a
 * page gets a page with a link back.
 */
export const registerUnknownRoutes = (app: FastifyInstance): void => {
  const refuse = (request: FastifyRequest) =>
    new HeadwayError('route_not_found', `Nothing is at ${shownOf(pathOf(request.url))}: see /docs.`)
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    // A route for every path belongs to a plugin, and is none that the service offers.
    if (url.includes('*')) return
    const route = routes.get(url) ?? { pattern: patternOf(url), methods: new Set() }
    for (const name of [method].flat()) route.methods.add(name)
    routes.set(url, route)
  })
  app.addHook('onRequest', (request, reply, done) => {
    // The route of @fastify/cors matches every OPTIONS request. A request that gets here is no preflight.
    if (!request.is404 && (request.method !== 'OPTIONS' || request.routeOptions.url !== '*')) {
      done()
      return
    }
    const path = pathOf(request.url)
    for (const { pattern, methods } of routes.values()) {
      if (!pattern.test(path)) continue
      const allow = [...methods].sort().join(', ')
      reply.header('allow', allow)
      done(new HeadwayError('method_not_allowed', `This path takes only ${allow}.`))
      return
    }
    if (!sendMissingPage(request, reply)) done(refuse(request))
  })
  // For files that the documentation pages do not have.
  app.setNotFoundHandler((request, reply) => {
    if (!sendMissingPage(request, reply)) throw refuse(request)
  })
}
