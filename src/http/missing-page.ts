import type { FastifyReply, FastifyRequest } from 'fastify'

/** Below these paths programs call: to them a page would be of no use. */
const OF_PROGRAMS = ['/api', '/mcp']

const isOfPrograms = (path: string): boolean =>
  OF_PROGRAMS.some(start => path === start || path.startsWith(`${start}/`))

/** A browser that is shown a page names HTML; programs that take anything do not. */
const asksForPage = ({ method, headers }: FastifyRequest): boolean =>
  (method === 'GET' || method === 'HEAD') && /(?:^|,)\s*text\/html\s*(?:[;,]|$)/i.test(headers.accept ?? '')

/** From a path to where the service begins: below which path a proxy shows it, only the reader's browser knows. */
const wayBack = (path: string): string => '../'.repeat(path.split('/').length - 2) || './'

/** Nothing that was asked for is repeated in it. */
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

/** Answers 404 with a page that has a way back, where it is a browser that asked for a page. Says whether it has answered. */
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
