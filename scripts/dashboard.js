// Bundles src/dashboard for browsers: names that change with the content, nothing from elsewhere, nothing inline.
import { readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { BUNDLING } from './bundling.js'

const source = fileURLToPath(new URL('../src/dashboard', import.meta.url))

/**
 * The page, by how far it is from the root of the service: a proxy may have put that below a path, which only the browser
 * knows. `{{}}` in it is the way to the root, `{{main.ts}}` the name that a file has now.
 */
const PAGES = { 'index.html': './', 'job.html': '../' }

/** Writes the dashboard to `directory`. */
export const buildDashboard = async directory => {
  const { metafile } = await build({
    ...BUNDLING,
    absWorkingDir: source,
    entryPoints: ['main.ts', 'appearance.ts', 'styles/main.css', 'icon.svg'],
    outdir: directory,
    entryNames: '[name]-[hash]',
    chunkNames: 'chunk-[hash]',
    assetNames: '[name]-[hash]',
    splitting: true,
    tsconfig: `${source}/tsconfig.json`,
    loader: { '.svg': 'copy' },
    metafile: true,
  })
  const names = new Map(
    Object.entries(metafile.outputs)
      .filter(([, { entryPoint }]) => entryPoint)
      .map(([path, { entryPoint }]) => [entryPoint, basename(path)]),
  )
  const page = readFileSync(`${source}/index.html`, 'utf8')
  const nameOf = entry => {
    const name = names.get(entry)
    if (name === undefined) throw new Error(`index.html names ${entry}, which is no entry point of the dashboard.`)
    return name
  }
  for (const [name, root] of Object.entries(PAGES)) {
    const filled = page.replaceAll(/\{\{(.*?)\}\}/g, (_, entry) => (entry === '' ? root : nameOf(entry)))
    writeFileSync(`${directory}/${name}`, filled)
  }
}
