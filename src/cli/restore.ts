import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'
import { pipeline } from 'node:stream/promises'
import { PassThrough } from 'node:stream'
import type { Command } from 'commander'
import { HeadwayError } from '../contract/errors.ts'
import { withOwnDatabase } from './own-database.ts'
import type { Surroundings } from './surroundings.ts'

const HELP = `
The database must have no jobs and no webhooks. Stop the service first, and start it afterwards. Nothing is restored unless all
of it can be. The database is that of DATABASE_LISTEN_URL, or else DATABASE_URL, or else the embedded one in HEADWAY_DATA_DIR.

Examples:
  DATABASE_URL=postgres://owner:secret@db.example:5432/headway headway restore headway.dump.gz
  ssh backup.example 'cat headway.dump' | DATABASE_URL=postgres://… headway restore -
`

/** RFC 1952, section 2.3.1 */
const GZIP = '1f8b'

const isFileError = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  ['ENOENT', 'EACCES', 'EPERM', 'EISDIR', 'EIO'].includes(String(error.code))

const isGzipError = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')

/** The pieces of a file, decompressed if it is compressed. Raises `validation_failed` if it cannot be read. */
async function* readPieces(file: string): AsyncGenerator<Buffer> {
  const source = (file === '-' ? process.stdin : createReadStream(file)) as AsyncIterable<Buffer>
  try {
    const pieces = source[Symbol.asyncIterator]()
    let first = Buffer.alloc(0)
    while (first.length < 2) {
      const next = await pieces.next()
      if (next.done) break
      first = Buffer.concat([first, next.value])
    }
    const all = async function* () {
      yield first
      yield* { [Symbol.asyncIterator]: () => pieces }
    }
    if (first.toString('hex', 0, 2) !== GZIP) return yield* all()
    const plain = new PassThrough()
    // Its failure destroys `plain`, and the loop below raises it.
    pipeline(all, createGunzip(), plain).catch(() => undefined)
    for await (const piece of plain as AsyncIterable<Buffer>) yield piece
  } catch (error) {
    if (isGzipError(error)) {
      const sentence = 'The dump is cut short or damaged (it cannot be decompressed). Nothing was restored.'
      throw new HeadwayError('validation_failed', sentence, { cause: error })
    }
    if (!isFileError(error)) throw error
    const { message } = error as Error
    throw new HeadwayError('validation_failed', `The dump cannot be read from ${file} (${message}).`, { cause: error })
  }
}

/** `headway restore`: fills an empty database with a dump. */
export const addRestoreCommand = (program: Command, surroundings: Surroundings): void => {
  program
    .command('restore')
    .description('fill an empty database with what headway dump has written')
    .argument('<file>', 'the file, or - for standard input')
    .addHelpText('after', HELP)
    .action((file: string) =>
      withOwnDatabase(surroundings, { mayCreate: true }, async ({ url, name }) => {
        const { restore } = await import('../database/dump/restore.ts')
        const { counts, takenAt, warnings } = await restore(url, readPieces(file))
        for (const warning of warnings) surroundings.out(`Warning: ${warning}\n`)
        surroundings.out(
          `${counts.progress_jobs ?? 0} jobs and ${counts.webhooks ?? 0} webhooks of ${takenAt} are in ${name}. ` +
            'Let one service only send the messages of these webhooks.\n',
        )
      }),
    )
}
