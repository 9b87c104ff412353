// What a release consists of.
import { readFileSync } from 'node:fs'

/** The folders of the packages, in the order in which they are published. */
export const FOLDERS = ['packages/worker/', 'packages/client/', '']

/** The notes of a version in the text of CHANGELOG.md, without their heading; null where it has none with a date. */
export const notesOf = (changelog, version) => {
  const sections = changelog.split(/^(?=## )/m)
  const section = sections.find(text => text.startsWith(`## [${version}] - `))
  const [heading = '', ...lines] = (section ?? '').split('\n')
  return /\d{4}-\d{2}-\d{2}$/.test(heading) ? lines.join('\n').trim() : null
}

export const readChangelog = () => readFileSync(new URL('../CHANGELOG.md', import.meta.url), 'utf8')
