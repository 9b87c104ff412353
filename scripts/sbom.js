// Prints the parts of the service as CycloneDX, from the lock file: `npm sbom` of a copy that has no tools. `npm sbom --omit dev` of the
// repository would leave out what a tool and the service both need.
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const read = name => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), 'utf8'))

/** Neither the tools, nor the packages of this repository, whose parts are none. */
const withoutTools = manifest => {
  const optional = Object.entries(manifest.optionalDependencies).filter(([name]) => !name.startsWith('@headway/'))
  const rest = { ...manifest, optionalDependencies: Object.fromEntries(optional) }
  for (const field of ['devDependencies', 'workspaces', 'scripts']) delete rest[field]
  return rest
}

const lock = read('package-lock.json')
const parts = Object.entries(lock.packages).filter(
  ([path, { dev, link }]) => path.startsWith('node_modules/') && !dev && !link,
)
const packages = { '': withoutTools(lock.packages['']), ...Object.fromEntries(parts) }

const parent = mkdtempSync(join(tmpdir(), 'headway-sbom-'))
// The folder gives the document its name.
const folder = join(parent, 'headway')
try {
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify(withoutTools(read('package.json'))))
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ ...lock, packages }))
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only']
  process.exitCode = spawnSync('npm', args, { cwd: folder, stdio: 'inherit' }).status ?? 1
} finally {
  rmSync(parent, { recursive: true, force: true })
}
