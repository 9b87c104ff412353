import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'
import { sendMissingPage } from './missing-page.ts'

/** As the router sees it: without query and fragment. */
const pathOf = (url: string): string => url.split(/[?#]/, 1)[0] ?? url

/** What may be repeated: behind a semicolon some clients put what belongs into the query, tokens included. */
const shownOf = (path: string): string => path.split(';', 1)[0] ?? path

/** The paths of a route: `:id` is one part of a path. */
const patternOf = (url: string): RegExp =>
  new RegExp(`^${url.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:\w+/g, '[^/]+')}$`)

/**
 * Answers 404 where no route is, and 405 with `Allow` where there is one for another method, be it one that only WebDAV knows;
 * before the body is read, so that neither depends on what it holds. A browser that asks for a page gets one with a way back.
 */
export const registerUnknownRoutes = (app: FastifyInstance): void => {
  const refuse = (request: FastifyRequest) =>
    new HeadwayError('route_not_found', `Nothing is at ${shownOf(pathOf(request.url))}: see /docs.`)
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    // What takes every path is a plugin's, and none that is meant.
    if (url.includes('*')) return
    const route = routes.get(url) ?? { pattern: patternOf(url), methods: new Set() }
    for (const name of [method].flat()) route.methods.add(name)
    routes.set(url, route)
  })
  app.addHook('onRequest', (request, reply, done) => {
    // The route of @fastify/cors takes every OPTIONS; those that come this far are no preflights.
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
  // What the pages of the documentation do not have.
  app.setNotFoundHandler((request, reply) => {
    if (!sendMissingPage(request, reply)) throw refuse(request)
  })
}
