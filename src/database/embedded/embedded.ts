/**
 * The Postgres that Headway brings along, for the case that DATABASE_URL is not set: a real server from npm packages,
 * so that the code path is that of production.
 *
 * This process only claims the server (`guard-connection.ts`). A process of its own, the guard (`guard.ts`), runs it
 * while anyone claims it. `place.ts` decides where the files are and which user runs the server, `binaries.ts` finds
 * the programs, `cluster.ts` makes and starts the database. docs/decisions/0001-embedded-postgres.md says why.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { locatePrograms } from './binaries.ts'
import { SUPERUSER } from './cluster.ts'
import { connectToGuard } from './guard-connection.ts'
import type { Transport } from './messages.ts'
import { choosePlace } from './place.ts'

export interface EmbeddedPostgresOptions {
  /** Directory of Headway's own data; made where it does not exist. */
  dataDir: string
  /** Told what an operator may want to know: that the server ended and came back. */
  log?: (message: string) => void
  /** Server settings by name, for the process that starts the server; who joins takes it as it is. */
  settings?: Record<string, string>
  /** How clients reach the server. Default: a unix socket that only this user can open; 127.0.0.1 on Windows. */
  transport?: Transport
}

/** A claim on the embedded server, shared by all processes that use the same data directory. */
export interface EmbeddedPostgres {
  /** For `pg`; with the password. It stays valid when the server comes back after a failure. */
  url: string
  /** Of the server, such as 18.4. */
  version: string
  /** Where the data are: under the directory asked for, unless Postgres cannot enter that. */
  dataDir: string
  /** What the operator should know about this machine, one sentence each. */
  warnings: string[]
  /** Gives the claim up; the server is shut down unless another process uses it. A killed process loses it as well. */
  stop: () => Promise<void>
}

const toUrl = (host: string, port: number, password: string): string => {
  const credentials = `${SUPERUSER}:${encodeURIComponent(password)}`
  if (!host.startsWith('/')) return `postgresql://${credentials}@${host}:${port}/postgres`
  return `postgresql://${credentials}@localhost:${port}/postgres?host=${encodeURIComponent(host)}`
}

/**
 * Starts the embedded Postgres on `dataDir`, or joins the one that runs there already. It is ready for connections
 * when this resolves. Raises `database_unavailable` with what to do when the platform has no programs, the data
 * belong to someone else, or the server does not start.
 */
export const startEmbeddedPostgres = async ({
  dataDir,
  log = () => undefined,
  settings = {},
  transport = process.platform === 'win32' ? 'tcp' : 'socket',
}: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> => {
  const programs = locatePrograms()
  const place = choosePlace(dataDir)
  const guard = await connectToGuard({ place, programs, settings, transport }, log)
  const password = readFileSync(join(place.cluster, 'password'), 'utf8')
  return {
    url: toUrl(guard.address.host, guard.address.port, password),
    version: /^\d+\.\d+/.exec(programs.version)?.[0] ?? programs.version,
    dataDir: place.home,
    warnings: place.warnings,
    stop: guard.leave,
  }
}
