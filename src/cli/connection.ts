import type { Command } from 'commander'
import { createNodeClient, settingsOf, UnavailableError, type Client } from '../node-client/client.ts'

export interface ConnectionOptions {
  url?: string
  token?: string
}

/** How long a call is tried while a person waits at a terminal. */
const PATIENCE_MS = 10_000

/** Adds `--url` and `--token` to a command that calls a service. */
export const withConnection = (command: Command): Command =>
  command
    .option('--url <url>', 'where the service is (HEADWAY_URL, or http://127.0.0.1:3000)')
    .option('--token <token>', 'who calls (HEADWAY_TOKEN, which other users of the machine cannot read)')

export const connect = (options: ConnectionOptions, environment: NodeJS.ProcessEnv): Client =>
  createNodeClient(settingsOf(options, environment))

/** Makes a call that may be repeated. Raises `RefusedError`, or `UnavailableError` when there is no answer in ten seconds. */
export const ask = async <Answer>(client: Client, method: string, path: string): Promise<Answer> => {
  const signal = AbortSignal.timeout(PATIENCE_MS)
  try {
    return await client.persist<Answer>(method, path, { signal })
  } catch (error) {
    if (!signal.aborted) throw error
    throw new UnavailableError(`${client.url} cannot be reached. Start the service there, or set HEADWAY_URL or --url.`)
  }
}
