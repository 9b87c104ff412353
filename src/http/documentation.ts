import fastifySwagger from '@fastify/swagger'
import fastifySwaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import { description, homepage, version } from '../version.ts'
import { protectPages } from './pages.ts'
import type { Allowed } from './pages.ts'
import { TOKEN } from './schemas/operation.ts'
import './schemas/problem.ts'
import { writePlainly } from './plain-schemas.ts'
import { openApiText } from './openapi-text.ts'
import { shareComponents } from './share-components.ts'
import { shareFields } from './share-fields.ts'
import { shareProperties } from './share-properties.ts'
import { WEBHOOKS } from './schemas/webhook-message.ts'

const INFO = {
  title: 'Headway',
  version,
  description:
    `${description}\n\nTimes are ISO 8601 in UTC, counts go up to 2^53-1, and an empty body is \`{}\`. Errors are RFC 9457 ` +
    'documents: branch on their `code`. Fields and query parameters that are not known here are refused.\n\n' +
    'Every path refuses a request that is not valid HTTP: 400 `malformed_request`, 408 `request_timeout`, 417 ' +
    '`expectation_failed`, 431 `headers_too_large`. A wrong method is answered with 405 `method_not_allowed`, and an unknown path ' +
    'with 404 `route_not_found`. With tokens, `ratelimit-limit`, `ratelimit-remaining` and `ratelimit-reset` of every answer say how ' +
    'many requests may follow. A service without authentication refuses web pages of other sites on every path: 403 `forbidden`, ' +
    'and 421 `misdirected_request` where the host is not this machine.',
  license: { name: 'MIT', identifier: 'MIT' },
}

/** The styles of Swagger's pages contain their pictures as data. */
const ALLOWED: Allowed = {
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'", 'data:'],
  connectSrc: ["'self'"],
}

const TAGS = [
  { name: 'jobs', description: 'Make, find and read jobs.' },
  { name: 'heartbeats', description: 'Report progress, and learn whether to stop.' },
  { name: 'lifecycle', description: 'Start, end, cancel, retry.' },
  { name: 'streams', description: 'Follow jobs live.' },
  { name: 'webhooks', description: 'Be told of what happens to jobs.' },
  { name: 'badges', description: 'Show in other pages how far a job is.' },
  { name: 'assistants', description: 'For programs that speak the Model Context Protocol.' },
  { name: 'operations', description: 'For whoever runs the service.' },
]

const SECURITY_SCHEMES = {
  bearer: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description:
      'Claims: `tenant_id` (a UUID, needed), `organization_id` (a UUID), `sub` (who it is), `features` (a list of ' +
      '`progress.view`, `progress.create`, `progress.update`, `progress.cancel`, `progress.manage`, or `progress.*`), `job_id` ' +
      '(limits the token to this job and its partitions), `exp`. A service without authentication needs no token.',
  },
  accessToken: {
    type: 'apiKey',
    in: 'query',
    name: 'access_token',
    description: 'The same token, for clients that cannot set headers. Only streams take it; the header wins.',
  },
} as const

interface Components {
  components: { schemas: Record<string, object> }
}

const refersTo = (text: string, name: string) => text.includes(`"#/components/schemas/${name}"`)

/**
 * Every zod schema with an id comes twice, as input (`JobInput`) and as output (`Job`). Removes the ones that nothing refers
 * to, and renames an input without an output of the same name to the plain name.
 */
export const tidyComponents = <Document extends Components>(document: Document): Document => {
  const { schemas } = document.components
  for (let dropped = true; dropped;) {
    const text = JSON.stringify(document)
    const unused = Object.keys(schemas).filter(name => !refersTo(text, name))
    dropped = unused.length > 0
    for (const name of unused) Reflect.deleteProperty(schemas, name)
  }
  let text = JSON.stringify(document)
  for (const name of Object.keys(schemas)) {
    const plain = name.replace(/Input$/, '')
    if (plain === name || plain in schemas) continue
    text = text.replaceAll(`"#/components/schemas/${name}"`, `"#/components/schemas/${plain}"`)
    text = text.replace(`"${name}":`, `"${plain}":`)
  }
  return JSON.parse(text) as Document
}

interface BodySchema {
  $ref?: string
  required?: string[]
}

interface Operations {
  paths: Record<
    string,
    Record<string, { requestBody?: { required?: boolean; content: Record<string, { schema: BodySchema }> } }>
  >
}

/** Marks a body as optional if all its fields are: no body then means the same as an empty object. */
const markOptionalBodies = <Document extends Components & Operations>(document: Document): Document => {
  const resolve = (schema: BodySchema = {}): BodySchema =>
    schema.$ref === undefined ? schema : (document.components.schemas[schema.$ref.replace(/^.*\//, '')] ?? {})
  for (const { requestBody } of Object.values(document.paths).flatMap(path => Object.values(path))) {
    if (!requestBody) continue
    const { required = [] } = resolve(requestBody.content['application/json']?.schema)
    requestBody.required = required.length > 0
  }
  return document
}

/** States what several operations or schemas have in common once. */
const stateOnce = <Document extends Components & Operations>(document: Document): Document =>
  shareComponents(shareProperties(shareFields(document)))

/**
 * Serves the OpenAPI document and its pages: `/openapi.json`, `/openapi.yaml` and `/docs`. Call it before the routes are
 * registered.
 */
export const registerDocumentation = async (app: FastifyInstance): Promise<void> => {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: INFO,
      ...(homepage !== undefined && { externalDocs: { url: homepage, description: 'The manual' } }),
      tags: TAGS,
      webhooks: WEBHOOKS,
      components: { securitySchemes: SECURITY_SCHEMES },
      security: TOKEN,
    },
    // zod describes the requests. The answers are JSON schemas already (schemas/operation.ts).
    transform: input => {
      const { response, ...requests } = input.schema as { response?: unknown }
      const { schema, url } = jsonSchemaTransform({ ...input, schema: requests })
      return { schema: { ...schema, ...(response !== undefined && { response }) }, url }
    },
    transformObject: input => ({
      ...stateOnce(
        writePlainly(markOptionalBodies(tidyComponents(jsonSchemaTransformObject(input) as Components & Operations))),
      ),
      // Relative to the document, because only the reader knows under which path a proxy shows the service. The plugin accepts
      // no relative address as an option.
      servers: [{ url: '.' }],
    }),
  })
  await app.register(async pages => {
    await protectPages(pages, ALLOWED)
    await pages.register(fastifySwaggerUi, {
      routePrefix: '/docs',
      // Without this the page asks a public service to validate the document.
      uiConfig: { validatorUrl: null },
      // The page reads a copy of the document from its own folder, so the address of the API is one folder up.
      transformSpecification: document => ({ ...document, servers: [{ url: '..' }] }),
      transformSpecificationClone: false,
      uiHooks: {
        onRequest: (request, reply, next) => {
          if (/^\/docs(\?|$)/.test(request.url)) void reply.redirect('docs/', 308)
          else next()
        },
      },
      // The bar above the page offers other documents and another product's logo.
      theme: { css: [{ filename: 'headway.css', content: '.swagger-ui .topbar { display: none }' }] },
    })
  })
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  // Made once: it takes a hundred times as long as a heartbeat, and anybody may ask for it.
  let yaml: string | null = null
  app.get('/openapi.yaml', { schema: { hide: true } }, async (_request, reply) =>
    reply.header('content-type', 'application/yaml').send((yaml ??= openApiYaml(app))),
  )
}

/** The document as the text of `openapi.yaml`. */
export const openApiYaml = (app: FastifyInstance): string => openApiText(app.swagger())
