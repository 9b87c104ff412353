import type { Config } from '../config.ts'
import { UnavailableError } from '../node-client/client.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Surroundings } from './surroundings.ts'

/** The database of the service that has the same settings. */
export interface OwnDatabase {
  /** For direct connections, with the password. */
  url: string
  /** For people, without the password. */
  name: string
  /** The file with the password of the embedded Postgres; null for a database of `DATABASE_URL`. */
  passwordFile: string | null
}

/** Turns failures of the database into sentences for the operator. `setting` names the database. */
const explaining =
  (url: string, setting: string) =>
  async (error: unknown): Promise<never> => {
    const { explainDatabase, isForOperator } = await import('../database/explain.ts')
    const { classifyFailure } = await import('../database/failures.ts')
    if (classifyFailure(error) === 'connection') {
      throw new UnavailableError('The connection to the database was lost. Look at its log, and try again.', 0, error)
    }
    const explained = explainDatabase(error, url, setting)
    if (explained === error || isForOperator(error)) throw explained
    throw new UnavailableError((explained as HeadwayError).message, 0, error)
  }

const openEmbedded = async ({ dataDir }: Config, mayCreate: boolean, err: Surroundings['err']) => {
  const { hasCluster, startEmbeddedPostgres } = await import('../database/embedded/embedded.ts')
  if (!mayCreate && !hasCluster(dataDir)) {
    throw new HeadwayError(
      'validation_failed',
      `DATABASE_URL is not set, and ${dataDir} holds no embedded Postgres. Set DATABASE_URL, or name the directory of ` +
        'the service in HEADWAY_DATA_DIR.',
    )
  }
  const embedded = await startEmbeddedPostgres({ dataDir, log: message => err(`${message}\n`) })
  const name = `the embedded PostgreSQL ${embedded.version} in ${embedded.dataDir}`
  return { database: { url: embedded.url, name, passwordFile: embedded.passwordFile }, stop: () => embedded.stop() }
}

/**
 * Calls `use` with the database that the service would have with this environment. The embedded Postgres is started if it
 * does not run, and is shut down afterwards unless the service uses it. It is created only if `mayCreate` is true. Failures of
 * the database are raised as sentences for the operator.
 */
export const withOwnDatabase = async (
  { environment, err }: Surroundings,
  { mayCreate }: { mayCreate: boolean },
  use: (database: OwnDatabase) => Promise<void>,
): Promise<void> => {
  const { readConfig } = await import('../config.ts')
  const config = readConfig(environment)
  const given = config.databaseListenUrl ?? config.databaseUrl
  if (given === null) {
    const { database, stop } = await openEmbedded(config, mayCreate, err)
    try {
      await use(database).catch(explaining(database.url, 'HEADWAY_DATA_DIR'))
    } finally {
      await stop()
    }
    return
  }
  const { refuseUnreadable } = await import('../database/explain.ts')
  const setting = config.databaseListenUrl === null ? 'DATABASE_URL' : 'DATABASE_LISTEN_URL'
  refuseUnreadable(given, setting)
  const url = new URL(given)
  url.password = ''
  await use({ url: given, name: url.href, passwordFile: null }).catch(explaining(given, setting))
}
