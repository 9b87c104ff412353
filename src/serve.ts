import type { Logger } from 'pino'
import { createApp, type App } from './app.ts'
import { readConfig, SETTINGS, type Config } from './config.ts'
import { startEmbeddedPostgres } from './database/embedded/embedded.ts'
import { explainDatabase, isForOperator, refuseUnreadable } from './database/explain.ts'
import { classifyFailure } from './database/failures.ts'
import { migrate } from './database/migrate.ts'
import { refuseUnfitPool } from './database/pooler.ts'
import { HeadwayError } from './contract/errors.ts'
import { createLog, terminalOutput } from './log.ts'
import { findMistyped, findPostgresUrls } from './mistyped.ts'
import { closeOnSignals } from './signals.ts'

/** How long the service waits for a database that starts at the same time. */
const DATABASE_START_SECONDS = 30
const TRY_AGAIN_MS = 1000
/** How often the log says that the database is still waited for. */
const TOLD_EVERY_MS = 10_000

interface RunningDatabase {
  url: string
  listenUrl: string
  /** For the log: without the password. */
  name: string
  stop: () => Promise<void>
}

const nameOf = (databaseUrl: string): string => {
  const url = new URL(databaseUrl)
  return `${url.hostname}${url.port ? `:${url.port}` : ''}${url.pathname}`
}

const listenSettingOf = ({ databaseListenUrl }: Config): string =>
  databaseListenUrl === null ? 'DATABASE_URL' : 'DATABASE_LISTEN_URL'

const openDatabase = async (config: Config, log: Logger): Promise<RunningDatabase> => {
  if (config.databaseUrl !== null) {
    const listenUrl = config.databaseListenUrl ?? config.databaseUrl
    refuseUnreadable(config.databaseUrl, 'DATABASE_URL')
    refuseUnreadable(listenUrl, listenSettingOf(config))
    return { url: config.databaseUrl, listenUrl, name: nameOf(config.databaseUrl), stop: async () => undefined }
  }
  const embedded = await startEmbeddedPostgres({ dataDir: config.dataDir, log: message => log.warn(message) })
  for (const warning of embedded.warnings) log.warn(warning)
  const name = `embedded PostgreSQL ${embedded.version} in ${embedded.dataDir}`
  return { url: embedded.url, listenUrl: embedded.url, name, stop: () => embedded.stop() }
}

const LISTEN_FAILURES: Record<string, string> = {
  EADDRINUSE: 'is in use. Stop the program that listens there, or set PORT to another one (0 picks a free one).',
  EADDRNOTAVAIL: 'is not an address of this machine: correct HOST.',
  EACCES: 'may not be used by this user: set PORT to one above 1023.',
  ENOTFOUND: 'cannot be found: correct HOST.',
}

const explainListen = (error: unknown, { host, port }: Config): unknown => {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const explanation = LISTEN_FAILURES[code]
  if (explanation === undefined) return error
  return new HeadwayError('validation_failed', `${host}:${port} ${explanation}`, { cause: error })
}

interface Server {
  url: string
  /** The setting that has the URL. */
  setting: string
}

/** Tries `use` until the server can be reached, if it starts at the same time. Raises a sentence for the operator. */
const whenReachable = async ({ url, setting }: Server, log: Logger, use: () => Promise<void>): Promise<void> => {
  const begun = performance.now()
  let toldAt = -Infinity
  for (;;) {
    try {
      await use()
      return
    } catch (error) {
      const explained = explainDatabase(error, url, setting)
      const now = performance.now()
      const leftMs = begun + DATABASE_START_SECONDS * 1000 - now
      if (classifyFailure(error) !== 'unreachable' || isForOperator(error) || leftMs <= 0) throw explained
      if (now - toldAt >= TOLD_EVERY_MS) {
        toldAt = now
        const reason = explained instanceof Error ? explained.message : ''
        log.warn(`${reason} It cannot be reached yet, and is tried for ${Math.ceil(leftMs / 1000)} more seconds.`)
      }
      await new Promise(resolve => setTimeout(resolve, TRY_AGAIN_MS))
    }
  }
}

/** Brings the database up to date, and looks whether the service can use it as it is configured. */
const prepareDatabase = async ({ url, listenUrl }: RunningDatabase, config: Config, log: Logger): Promise<void> => {
  await whenReachable({ url: listenUrl, setting: listenSettingOf(config) }, log, async () => {
    const onMigration = (name: string) => log.info(`migrating the database: ${name}`)
    for (const warning of await migrate(listenUrl, { onMigration, onWait: message => log.warn(message) }))
      log.warn(warning)
  })
  if (config.databaseUrl === null) return
  const { preparedStatements } = config
  await whenReachable({ url, setting: 'DATABASE_URL' }, log, () =>
    refuseUnfitPool({ url, listenUrl, preparedStatements }),
  )
}

/** What an operator may have meant otherwise. */
const warnOfSettings = (environment: NodeJS.ProcessEnv, config: Config, log: Logger): void => {
  for (const sentence of findMistyped(environment, SETTINGS)) log.warn(sentence)
  if (environment['NODE_ENV'] !== 'production' || config.databaseUrl !== null) return
  const urls = findPostgresUrls(environment)
  const meant = urls.length === 0 ? '' : ` The URL of a Postgres is in ${urls.join(', ')}, which Headway does not read.`
  log.warn(`DATABASE_URL is not set: jobs are kept in an embedded Postgres, in ${config.dataDir}.${meant}`)
}

/**
 * Runs the service in this process, with the settings of the environment, until a signal ends it. Resolves when it listens.
 * Raises a `HeadwayError` with a sentence for the operator when it cannot be started.
 */
export const serve = async (): Promise<void> => {
  const config = readConfig(process.env)
  const log = createLog(config.logLevel, terminalOutput(process.stdout))
  warnOfSettings(process.env, config, log)
  const database = await openDatabase(config, log)
  let app: App | null = null
  const closing = new AbortController()
  let closed: Promise<void> | null = null
  const closeAll = async (): Promise<void> => {
    await app?.close()
    await database.stop()
  }
  /** Closes only once: a signal may come while a failed start is being undone. */
  const close = (): Promise<void> => {
    closing.abort()
    return (closed ??= closeAll())
  }
  // Before the first `await`: without a listener, the first process of a container does not receive the signal at all.
  closeOnSignals({ close, graceSeconds: config.shutdownGraceSeconds, log })
  try {
    await prepareDatabase(database, config, log)
    app = await createApp({ config, databaseUrl: database.url, listenUrl: database.listenUrl, log })
    const address = await app.listen().catch((error: unknown) => {
      throw explainListen(error, config)
    })
    log.info(`Headway listens on ${address}, on ${database.name}`)
  } catch (error) {
    // The failure is the result of a shutdown that has begun, and that shutdown ends the process itself.
    const isShutdown = closing.signal.aborted
    await close().catch((failure: unknown) => log.error({ err: failure }, 'could not undo the start'))
    if (!isShutdown) throw error
  }
}

/** `serve` for a process that does nothing else: when the service cannot be started, it prints why and ends the process. */
export const runService = (): Promise<void> =>
  serve().catch((error: unknown) => {
    // A refusal is a sentence for the operator. Any other error is a bug and is printed with its stack.
    console.error(error instanceof HeadwayError ? error.message : error)
    process.exit(1)
  })
