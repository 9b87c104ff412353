import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { HeadwayError } from '../../errors.ts'
import { version } from '../../version.ts'
import { registerTools, type ToolParts } from '../mcp/tools.ts'
import { operation } from '../schemas/operation.ts'
import { nothing } from '../schemas/primitives.ts'

const INSTRUCTIONS =
  'Headway knows how far long-running jobs are. Find a job with list_jobs, then use its id. To follow one to its end, call ' +
  'wait_for_job again until it says that it has finished, instead of asking get_job again and again.'

const message = z.looseObject({ jsonrpc: z.literal('2.0', 'must be "2.0"'), method: z.string().exactOptional() }).meta({
  id: 'McpMessage',
  description: 'A message of JSON-RPC 2.0, as the Model Context Protocol has it.',
  examples: [{ jsonrpc: '2.0', id: 1, method: 'tools/list' }],
})

/** Whoever takes anything takes both of what the protocol asks for. */
const acceptOf = (accept: string | undefined): string =>
  accept === undefined || accept.includes('*/*') ? 'application/json, text/event-stream' : accept

const toWebRequest = ({ headers, body }: FastifyRequest): [Request, { parsedBody: unknown }] => {
  const given = Object.entries({ ...headers, accept: acceptOf(headers.accept) }).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name, value] as [string, string]] : [],
  )
  // The address is of no account: nothing but the headers is looked at.
  return [new Request('http://mcp.invalid/mcp', { method: 'POST', headers: given }), { parsedBody: body }]
}

const refusalOf = async (response: Response): Promise<HeadwayError> => {
  const { error } = (await response.json()) as { error?: { message?: string } }
  const code =
    response.status === 406
      ? 'not_acceptable'
      : response.status === 415
        ? 'unsupported_media_type'
        : 'validation_failed'
  return new HeadwayError(code, `${error?.message ?? 'This is no message of MCP'}.`)
}

/**
 * One message, one request, and no session: nothing is kept between two of them, so that any replica may answer any of them,
 * a restart goes unnoticed, and each is checked for its token. What a session would add are messages that the service sends
 * unasked, and there are none.
 */
const answer = async (parts: ToolParts, request: FastifyRequest, reply: FastifyReply) => {
  const server = new McpServer({ name: 'headway', title: 'Headway', version }, { instructions: INSTRUCTIONS })
  registerTools(server, parts)
  const transport = new WebStandardStreamableHTTPServerTransport()
  await server.connect(transport)
  // The end of the answer, or of a caller's patience: whatever still waits ends with it.
  reply.raw.once('close', () => void server.close())
  const response = await transport.handleRequest(...toWebRequest(request))
  if (response.status >= 400) throw await refusalOf(response)
  return reply.send(response)
}

/** The door for assistants: the Model Context Protocol by Streamable HTTP. */
export const mcpRoutes: FastifyPluginAsyncZod<Omit<ToolParts, 'identity' | 'log'>> = async (app, parts) => {
  app.route({
    method: 'POST',
    url: '/mcp',
    // Answers last as long as what is waited for.
    config: { feature: 'progress.view', endless: true },
    schema: {
      ...operation({
        id: 'mcp',
        summary: 'Speak MCP',
        description:
          'The Model Context Protocol by Streamable HTTP, without sessions: tools `list_jobs`, `get_job`, `wait_for_job`, ' +
          '`cancel_job` and `job_history`. `cancel_job` needs `progress.cancel` as well.',
        tag: 'assistants',
        answers: {
          200: {
            description: 'The answer to a request, after any notifications of progress.',
            content: {
              'text/event-stream': {
                schema: { type: 'string' },
                example: 'event: message\\ndata: {"result":{},"jsonrpc":"2.0","id":1}\\n\\n',
              },
            },
          },
          202: { description: 'A notification was taken.' },
        },
        refusals: ['payload_too_large', 'unsupported_media_type', 'not_acceptable'],
      }),
      querystring: nothing,
      body: message,
    },
    handler: (request, reply) => answer({ ...parts, identity: request.identity, log: request.log }, request, reply),
  })
}
