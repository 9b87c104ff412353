// Fails unless a tag, `v0.1.0`, names the version of all three packages: a release must not publish another one.
import { readFileSync } from 'node:fs'

const FOLDERS = ['../', '../packages/worker/', '../packages/client/']

const [tag = ''] = process.argv.slice(2)
const versions = FOLDERS.map(
  folder => JSON.parse(readFileSync(new URL(`${folder}package.json`, import.meta.url), 'utf8')).version,
)
if (versions.some(version => tag !== `v${version}`)) {
  console.error(`The tag is ${tag || 'missing'}, and the packages have the versions ${versions.join(', ')}.`)
  process.exit(1)
}
