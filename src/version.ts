import { readFileSync } from 'node:fs'

const packageFile = new URL('../package.json', import.meta.url)

/** Version, description and homepage of this package. `homepage` is the address of the manual; undefined if it is not known. */
export const { version, description, homepage } = JSON.parse(readFileSync(packageFile, 'utf8')) as {
  version: string
  description: string
  homepage?: string
}
