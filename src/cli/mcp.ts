import type { Command } from 'commander'
import { HeadwayError } from '../errors.ts'

/** Where the service is and what lets the caller in, as the other clients of Headway read it. */
const readService = (environment: NodeJS.ProcessEnv): { url: URL; token: string | null } => {
  const url = environment['HEADWAY_URL'] ?? 'http://127.0.0.1:3000'
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new HeadwayError('validation_failed', 'HEADWAY_URL must be the address of the service: http://127.0.0.1:3000')
  }
  const base = new URL(url)
  base.pathname = `${base.pathname.replace(/\/$/, '')}/mcp`
  return { url: base, token: environment['HEADWAY_TOKEN'] ?? null }
}

const HELP = `
For clients of the Model Context Protocol that start a program and speak to its standard input. It passes their messages on
to /mcp of a running service; clients that speak Streamable HTTP can use that directly.

Settings:
  HEADWAY_URL    where the service is; http://127.0.0.1:3000 when unset
  HEADWAY_TOKEN  a token with the feature view, and cancel if jobs may be cancelled

Example, in the settings of a client:
  { "mcpServers": { "headway": { "command": "headway", "args": ["mcp"], "env": { "HEADWAY_TOKEN": "…" } } } }
`

/** `headway mcp`: the tools for assistants, on standard input and output. */
export const addMcpCommand = (program: Command, environment: NodeJS.ProcessEnv): void => {
  program
    .command('mcp')
    .description('let an assistant use a running service, by MCP on standard input and output')
    .addHelpText('after', HELP)
    .action(async () => {
      const service = readService(environment)
      // Not before it is wanted: it brings the protocol's library along.
      const { runBridge } = await import('./mcp-bridge.ts')
      await runBridge(service)
    })
}
