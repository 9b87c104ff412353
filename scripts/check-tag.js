// Fails unless a tag, `v0.2.0`, names the version of all packages, of those that the service asks for, of the image that
// deploy/kubernetes runs, and of a section of the changelog that has a date: a release must not publish another one, or one that
// brings the packages of the release before. Prints the notes of the version, which become those of the release.
import { readFileSync } from 'node:fs'
import { FOLDERS, notesOf, readChangelog } from './release.js'

const read = path => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')

const [tag = ''] = process.argv.slice(2)
const manifests = FOLDERS.map(folder => JSON.parse(read(`${folder}package.json`)))
const { optionalDependencies } = manifests.at(-1)
const own = manifests.map(({ name }) => optionalDependencies[name]).filter(version => version !== undefined)
const [, image = 'none'] = /newTag: (\S+)/.exec(read('deploy/kubernetes/kustomization.yaml')) ?? []
const [, python = 'none'] = /VERSION = "(.+)"/.exec(read('clients/python/src/headway/_version.py')) ?? []
const versions = [...manifests.map(({ version }) => version), python, ...own, image]
if (!/^v\d+\.\d+\.\d+$/.test(tag)) {
  console.error(
    `The tag is ${tag || 'missing'}. A release has a tag such as v1.2.3: it becomes what npm and the image call latest.`,
  )
  process.exit(1)
}
if (versions.some(version => tag !== `v${version}`)) {
  console.error(
    `The tag is ${tag || 'missing'}, and the packages and the image have and ask for the versions ${versions.join(', ')}.`,
  )
  process.exit(1)
}
const notes = notesOf(readChangelog(), tag.slice(1))
if (notes === null) {
  console.error(`CHANGELOG.md has no section "## [${tag.slice(1)}] - <date>".`)
  process.exit(1)
}
console.log(notes)
