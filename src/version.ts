import { readFileSync } from 'node:fs'

const packageFile = new URL('../package.json', import.meta.url)

/** Of this package. `homepage` is where its manual is; undefined where that is not known. */
export const { version, description, homepage } = JSON.parse(readFileSync(packageFile, 'utf8')) as {
  version: string
  description: string
  homepage?: string
}
