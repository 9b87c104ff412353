import type { Command } from 'commander'
import { connect, withConnection, type ConnectionOptions } from './connection.ts'
import type { Surroundings } from './surroundings.ts'

const HELP = `
For clients of the Model Context Protocol that start a program and speak to its standard input. It passes their messages on
to /mcp of a running service; clients that speak Streamable HTTP can use that directly.

It needs a token with the feature view, and cancel if jobs may be cancelled.

Example, in the settings of a client:
  { "mcpServers": { "headway": { "command": "headway", "args": ["mcp"], "env": { "HEADWAY_TOKEN": "…" } } } }
`

/** `headway mcp`: the tools for assistants, on standard input and output. */
export const addMcpCommand = (program: Command, { environment }: Surroundings): void => {
  withConnection(program.command('mcp'))
    .description('let an assistant use a running service, by MCP on standard input and output')
    .addHelpText('after', HELP)
    .action(async (options: ConnectionOptions) => {
      // Imported only when needed, because it loads the protocol's library.
      const { runBridge } = await import('./mcp-bridge.ts')
      const client = connect(options, environment)
      const { headers } = await client.address('')
      await runBridge({ url: new URL(`${client.url}/mcp`), headers })
    })
}
