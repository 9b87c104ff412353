import { constants, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Channel, ChannelOptions } from './channel.ts'
import { MAX_LINE_LENGTH, reportOfLine } from './line.ts'

/** Argo Workflows looks as often by default, or less. */
const LOOK_MS = 500

/** Argo Workflows' own name for such a file, and ours. */
const NAMES = ['HEADWAY_PROGRESS_FILE', 'ARGO_PROGRESS_FILE']

/** The last line of a file that is written to its end, or that says something by itself; empty if there is no such file. */
const lastLine = async (path: string): Promise<string> => {
  // The command may make anything of the path. Opening a pipe would wait for a writer, and reading a terminal for a key.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null)
  if (!file) return ''
  try {
    const stat = await file.stat()
    if (!stat.isFile()) return ''
    const { size } = stat
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(MAX_LINE_LENGTH),
      0,
      MAX_LINE_LENGTH,
      Math.max(0, size - MAX_LINE_LENGTH),
    )
    const lines = buffer.toString('utf8', 0, bytesRead).split('\n')
    // The last line may be half written. The one before it is whole.
    return lines.findLast(line => reportOfLine(line) !== null) ?? ''
  } finally {
    await file.close()
  }
}

/** Reads progress from a file that the command writes. Resolves with null where both variables are set already. */
export const openFileChannel = async ({ environment, onReport }: ChannelOptions): Promise<Channel | null> => {
  const names = NAMES.filter(name => environment[name] === undefined)
  if (names.length === 0) return null
  const directory = await mkdtemp(join(tmpdir(), 'headway-'))
  const path = join(directory, 'progress')
  let known = ''
  const look = async (): Promise<void> => {
    const line = await lastLine(path)
    if (line === known) return
    known = line
    const report = reportOfLine(line)
    if (report) onReport(report)
  }
  let looking = Promise.resolve()
  // What cannot be read now is read at the next look.
  const timer = setInterval(() => {
    looking = looking.then(look).catch(() => undefined)
  }, LOOK_MS).unref()
  return {
    environment: Object.fromEntries(names.map(name => [name, path])),
    async close() {
      clearInterval(timer)
      await looking
      await look().catch(() => undefined)
      await rm(directory, { recursive: true, force: true })
    },
  }
}
