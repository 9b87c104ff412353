// Bundles src/dashboard for browsers: names that change with the content, nothing from elsewhere, nothing inline.
import { readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const source = fileURLToPath(new URL('../src/dashboard', import.meta.url))

/** Writes the dashboard to `directory`. */
export const buildDashboard = async directory => {
  const { metafile } = await build({
    absWorkingDir: source,
    entryPoints: ['main.ts', 'appearance.ts', 'styles/main.css', 'icon.svg'],
    outdir: directory,
    entryNames: '[name]-[hash]',
    chunkNames: 'chunk-[hash]',
    assetNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    target: ['chrome111', 'firefox115', 'safari16.4'],
    conditions: ['production'],
    tsconfig: `${source}/tsconfig.json`,
    minify: true,
    legalComments: 'eof',
    loader: { '.svg': 'copy' },
    metafile: true,
    logLevel: 'warning',
  })
  const names = new Map(
    Object.entries(metafile.outputs)
      .filter(([, { entryPoint }]) => entryPoint)
      .map(([path, { entryPoint }]) => [entryPoint, basename(path)]),
  )
  const page = readFileSync(`${source}/index.html`, 'utf8').replaceAll(/\{\{(.+?)\}\}/g, (_, entry) => {
    const name = names.get(entry)
    if (name === undefined) throw new Error(`index.html names ${entry}, which is no entry point of the dashboard.`)
    return `/dashboard/${name}`
  })
  writeFileSync(`${directory}/index.html`, page)
}
