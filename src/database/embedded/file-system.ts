import { spawn, type ChildProcess } from 'node:child_process'
import { resolve } from 'node:path'
import { HeadwayError } from '../../contract/errors.ts'

/** A file system answers within milliseconds; a server of files that is started again may need seconds. */
const TELL_AFTER_MS = 3_000
const TELL_EVERY_MS = 10_000
const GIVE_UP_AFTER_MS = 30_000

/** Writes and removes a file, because a file system may still answer reads when it answers no writes. Errors do not matter here. */
const TRY = `
  const { mkdirSync, mkdtempSync, rmSync, writeFileSync } = require('node:fs')
  const [, dataDir] = process.argv
  try {
    mkdirSync(dataDir, { recursive: true })
    const draft = mkdtempSync(dataDir + '/.try-')
    writeFileSync(draft + '/file', 'x', { flush: true })
    rmSync(draft, { recursive: true })
  } catch {}`

const startTry = (dataDir: string): ChildProcess => {
  const child = spawn(process.execPath, ['-e', TRY, dataDir], {
    stdio: 'ignore',
    windowsHide: true,
    // Loaders and coverage tools of this process must not run in it.
    env: { ...process.env, NODE_OPTIONS: '', NODE_V8_COVERAGE: '' },
  })
  child.unref()
  return child
}

export interface Patience {
  /** Told what is waited for. */
  log: (message: string) => void
  tellAfterMs?: number
  giveUpAfterMs?: number
}

/**
 * Resolves when the file system of `dataDir` has answered, with an error or without. Raises `database_unavailable` when it does
 * not within 30 seconds: a server of files is away, or the file system is frozen. A call on such a file system holds its process,
 * also against `process.exit` and against SIGKILL. So a process of its own makes the first call, and may be left behind.
 */
export const awaitFileSystem = async (dataDir: string, patience: Patience): Promise<void> => {
  const { log, tellAfterMs = TELL_AFTER_MS, giveUpAfterMs = GIVE_UP_AFTER_MS } = patience
  const place = `The file system of ${resolve(dataDir)}, the data of the embedded Postgres, does not answer`
  const child = startTry(dataDir)
  const begun = performance.now()
  let telling: NodeJS.Timeout | undefined
  const tell = () => {
    const leftSeconds = Math.ceil((begun + giveUpAfterMs - performance.now()) / 1000)
    log(`${place}. It is waited for another ${leftSeconds} seconds.`)
    telling = setTimeout(tell, TELL_EVERY_MS)
  }
  telling = setTimeout(tell, tellAfterMs)
  let givingUp: NodeJS.Timeout | undefined
  try {
    const answered = await new Promise<boolean>(settle => {
      givingUp = setTimeout(settle, giveUpAfterMs, false)
      // A machine that cannot start a process says so when the guard is started.
      for (const event of ['exit', 'error']) child.once(event, () => settle(true))
    })
    if (answered) return
    child.kill('SIGKILL')
    throw new HeadwayError(
      'database_unavailable',
      `${place}. Look at the server or the disk that it is on, or set HEADWAY_DATA_DIR to a directory of your own, or set ` +
        'DATABASE_URL.',
    )
  } finally {
    clearTimeout(telling)
    clearTimeout(givingUp)
  }
}
