import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm, stat } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { Command } from 'commander'
import { HeadwayError } from '../contract/errors.ts'
import { version } from '../version.ts'
import { withOwnDatabase } from './own-database.ts'
import type { Surroundings } from './surroundings.ts'

const HELP = `
The service may run meanwhile. The dump is of one moment. It contains the secrets of webhooks, so its file is for you alone.
A name that ends in .gz is compressed. The database is that of DATABASE_LISTEN_URL, or else DATABASE_URL, or else the
embedded one in HEADWAY_DATA_DIR.

Examples:
  headway dump headway.dump.gz
  headway dump - | ssh backup.example 'cat > headway.dump'
`

type Pieces = AsyncIterable<Buffer>

const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && typeof error.syscall === 'string'

/** Raises `validation_failed` with the reason if the file, and not the database, has failed. */
const refuseUnwritable = (file: string) => (error: unknown) => {
  if (!isSystemError(error)) throw error
  throw new HeadwayError('validation_failed', `The dump cannot be written to ${file} (${error.message}).`, {
    cause: error,
  })
}

const STOPPING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Raises `validation_failed` at once if a signal tells the process to stop before everything is written. The pipeline itself
 * would wait for the database, which may be long.
 */
const writeTo = async (pieces: Pieces, isCompressed: boolean, target: Writable): Promise<void> => {
  const written = isCompressed ? pipeline(pieces, createGzip(), target) : pipeline(pieces, target)
  let stop: () => void = () => undefined
  const stopped = new Promise<never>((_resolve, reject) => {
    stop = () => reject(new HeadwayError('validation_failed', 'The dump was stopped before its end.'))
  })
  for (const name of STOPPING) process.on(name, stop)
  try {
    await Promise.race([written, stopped])
  } catch (error) {
    // It ends when its caller has cut the connection.
    written.catch(() => undefined)
    target.destroy()
    throw error
  } finally {
    for (const name of STOPPING) process.off(name, stop)
  }
}

/**
 * Writes under another name, and renames the file when all of it is on disk. So a file with the right name is always whole.
 * What is no regular file, such as a named pipe, is written to directly.
 */
const writeFile = async (file: string, pieces: Pieces): Promise<void> => {
  const found = await stat(file).catch(() => null)
  if (found !== null && !found.isFile()) return writeTo(pieces, false, createWriteStream(file, { flags: 'r+' }))
  const draft = `${file}.${randomUUID()}.part`
  try {
    await writeTo(pieces, file.endsWith('.gz'), createWriteStream(draft, { flags: 'wx', mode: 0o600, flush: true }))
    await rename(draft, file)
  } finally {
    await rm(draft, { force: true })
  }
}

/** `headway dump`: writes all that Headway knows to a file. */
export const addDumpCommand = (program: Command, surroundings: Surroundings): void => {
  program
    .command('dump')
    .description('write everything that the database holds to a file')
    .argument('<file>', 'the file, or - for standard output')
    .addHelpText('after', HELP)
    .action((file: string) =>
      withOwnDatabase(surroundings, { mayCreate: false }, async ({ url, name }) => {
        const { dump } = await import('../database/dump/dump.ts')
        const isOutput = file === '-'
        const place = isOutput ? 'standard output' : file
        const counts = await dump(url, version, pieces =>
          (isOutput ? writeTo(pieces, false, process.stdout) : writeFile(file, pieces)).catch(refuseUnwritable(place)),
        )
        surroundings.err(
          `${counts.progress_jobs ?? 0} jobs of ${name} are in ${place}. The dump contains the secrets of ` +
            `${counts.webhooks ?? 0} webhooks: keep it where only you can read it.\n`,
        )
      }),
    )
}
