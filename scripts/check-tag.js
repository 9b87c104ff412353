// Fails unless a tag, `v0.1.0`, names the version of all three packages, and of those that the service asks for: a release must
// not publish another one, or one that brings the packages of the release before.
import { readFileSync } from 'node:fs'

const FOLDERS = ['../', '../packages/worker/', '../packages/client/']

const [tag = ''] = process.argv.slice(2)
const manifests = FOLDERS.map(folder =>
  JSON.parse(readFileSync(new URL(`${folder}package.json`, import.meta.url), 'utf8')),
)
const [{ dependencies }] = manifests
const own = manifests.map(({ name }) => dependencies[name]).filter(version => version !== undefined)
const versions = [...manifests.map(({ version }) => version), ...own]
if (versions.some(version => tag !== `v${version}`)) {
  console.error(
    `The tag is ${tag || 'missing'}, and the packages have and ask for the versions ${versions.join(', ')}.`,
  )
  process.exit(1)
}
