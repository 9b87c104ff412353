// Puts a folder that was built aside into its place.
import { existsSync, renameSync, rmSync } from 'node:fs'

/** `fresh` becomes `target`, by renaming: nobody who runs from it sees half of it. */
export const replaceFolder = (target, fresh) => {
  const outdated = `${fresh}-outdated`
  try {
    if (existsSync(target)) renameSync(target, outdated)
    renameSync(fresh, target)
  } catch (error) {
    // Another build was faster: its result is as good.
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error
    rmSync(fresh, { recursive: true, force: true })
  }
  rmSync(outdated, { recursive: true, force: true })
}
