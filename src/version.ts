import { readFileSync } from 'node:fs'

const packageFile = new URL('../package.json', import.meta.url)

/** Of this package. */
export const { version, description } = JSON.parse(readFileSync(packageFile, 'utf8')) as {
  version: string
  description: string
}
