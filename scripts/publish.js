// Publishes the packages of a release that the registry does not have yet, so that a release that stopped half-way can be run
// again. The service asks for both others, so they come first. Arguments are handed to `npm publish`: `node scripts/publish.js
// --provenance`. Fails where a name belongs to somebody else's package.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { FOLDERS } from './release.js'

const root = fileURLToPath(new URL('..', import.meta.url))

const npm = (args, options) => spawnSync('npm', args, { cwd: root, encoding: 'utf8', ...options })

/** What the registry has of a package: its repository and its versions; null where it does not know the name. */
const ask = name => {
  const { status, stdout, stderr } = npm(['view', name, 'repository.url', 'versions', '--json'])
  const answer = stdout.trim() === '' ? {} : JSON.parse(stdout)
  if (status === 0) return { repository: answer['repository.url'], versions: [answer.versions ?? []].flat() }
  if (answer.error?.code === 'E404') return null
  throw new Error(`npm view ${name} ended with ${status}: ${stderr}`)
}

const packages = FOLDERS.map(folder => {
  const manifest = JSON.parse(readFileSync(`${root}${folder}package.json`, 'utf8'))
  return { folder, ...manifest, known: ask(manifest.name) }
})

// Asked of all before one is published: a release of half of them would be no use to anybody.
const foreign = packages.filter(({ known, repository }) => known !== null && known.repository !== repository.url)
for (const { name, known } of foreign) {
  console.error(`${name} of the registry is another package, made of ${known.repository ?? 'an unknown source'}.`)
}
if (foreign.length > 0) process.exit(1)

for (const { folder, name, version, known } of packages) {
  if (known?.versions.includes(version)) {
    console.log(`${name}@${version} is published already.`)
    continue
  }
  const args = ['publish', `./${folder}`, '--access', 'public', ...process.argv.slice(2)]
  if (npm(args, { stdio: 'inherit' }).status !== 0) process.exit(1)
}
