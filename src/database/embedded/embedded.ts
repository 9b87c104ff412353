/**
 * Runs the Postgres of Headway's npm packages, for the case that DATABASE_URL is not set. It is a real server, so the code path
 * is that of production.
 *
 * This process only claims the server (`guard-connection.ts`). A process of its own, the guard (`guard.ts`), runs the server
 * while any process claims it. `place.ts` decides where the files are and which user runs the server, `binaries.ts` finds the
 * programs, `cluster.ts` creates and starts the database. docs/decisions/0001-embedded-postgres.md says why.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { locatePrograms } from './binaries.ts'
import { SUPERUSER } from './cluster.ts'
import { connectToGuard } from './guard-connection.ts'
import type { Transport } from './messages.ts'
import { choosePlace, explainFiles } from './place.ts'
import { awaitFileSystem } from './file-system.ts'

export { hasCluster } from './place.ts'

export interface EmbeddedPostgresOptions {
  /** Directory of Headway's own data; created if it does not exist. */
  dataDir: string
  /** Called with messages for the operator: that the server has ended, and that it is running again. */
  log?: (message: string) => void
  /** Server settings by name. They apply if this process starts the server, and not if it joins a running one. */
  settings?: Record<string, string>
  /** How clients reach the server. Default: a unix socket that only this user can open; 127.0.0.1 on Windows. */
  transport?: Transport
}

/** A claim on the embedded server, which all processes with the same data directory share. */
export interface EmbeddedPostgres {
  /** A URL for `pg`, with the password. It stays valid when the server is started again after a failure. */
  url: string
  /** The server's version, such as 18.4. */
  version: string
  /** Where the data are: in the directory that was asked for, unless the user of Postgres cannot enter that. */
  dataDir: string
  /** The file that contains the password alone. */
  passwordFile: string
  /** Warnings about this machine for the operator, one sentence each. */
  warnings: string[]
  /** Gives the claim up. The server is shut down unless another process claims it. A killed process loses its claim as well. */
  stop: () => Promise<void>
}

const toUrl = (host: string, port: number, password: string): string => {
  const credentials = `${SUPERUSER}:${encodeURIComponent(password)}`
  if (!host.startsWith('/')) return `postgresql://${credentials}@${host}:${port}/postgres`
  return `postgresql://${credentials}@localhost:${port}/postgres?host=${encodeURIComponent(host)}`
}

const start = async ({
  dataDir,
  log = () => undefined,
  settings = {},
  transport = process.platform === 'win32' ? 'tcp' : 'socket',
}: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> => {
  const programs = locatePrograms()
  await awaitFileSystem(dataDir, { log })
  const place = choosePlace(dataDir)
  const guard = await connectToGuard({ place, programs, settings, transport }, log)
  const passwordFile = join(place.cluster, 'password')
  return {
    url: toUrl(guard.address.host, guard.address.port, readFileSync(passwordFile, 'utf8')),
    passwordFile,
    version: /^\d+\.\d+/.exec(programs.version)?.[0] ?? programs.version,
    dataDir: place.home,
    warnings: place.warnings,
    stop: guard.leave,
  }
}

/**
 * Starts the embedded Postgres on `dataDir`, or joins the one that runs there already. The server accepts connections when this
 * resolves. Raises `database_unavailable` with instructions when the platform has no programs, the directory does not answer or
 * cannot be written, the data belong to another user, or the server does not start.
 */
export const startEmbeddedPostgres = (options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> =>
  start(options).catch((error: unknown) => {
    throw explainFiles(error, options.dataDir)
  })
