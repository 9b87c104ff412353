import type { FastifyReply, FastifyRequest } from 'fastify'

/** Programs call the paths below these, and a page is of no use to them. */
const OF_PROGRAMS = ['/api', '/mcp']

const isOfPrograms = (path: string): boolean =>
  OF_PROGRAMS.some(start => path === start || path.startsWith(`${start}/`))

/** Whether a browser asks for a page: it names HTML in `Accept`, and programs that accept anything do not. */
const asksForPage = ({ method, headers }: FastifyRequest): boolean =>
  (method === 'GET' || method === 'HEAD') && /(?:^|,)\s*text\/html\s*(?:[;,]|$)/i.test(headers.accept ?? '')

/**
 * The relative path back to the start of the service. Only the reader's browser knows under which path a proxy shows the
 * service.
 */
const wayBack = (path: string): string => '../'.repeat(path.split('/').length - 2) || './'

/** The page repeats nothing from the request. */
const pageOf = (path: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>No such page · Headway</title>
</head>
<body>
<h1>There is no such page</h1>
<p><a href="${wayBack(path)}">To the jobs</a> · <a href="${wayBack(path)}docs/">To the documentation of the API</a></p>
</body>
</html>
`

/** Answers 404 with a page that links back to the service, if a browser asked for a page. Says whether it has answered. */
export const sendMissingPage = (request: FastifyRequest, reply: FastifyReply): boolean => {
  const path = request.url.split('?', 1)[0] ?? '/'
  if (isOfPrograms(path) || !asksForPage(request)) return false
  reply
    .code(404)
    .header('content-type', 'text/html; charset=utf-8')
    .header(
      'content-security-policy',
      "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
    .header('cache-control', 'no-cache')
    .header('vary', 'accept')
    .send(pageOf(path))
  return true
}
