// Bundles src/dashboard for browsers: names that change with the content, nothing from elsewhere, nothing inline.
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { BUNDLING } from './bundling.js'

const source = fileURLToPath(new URL('../src/dashboard', import.meta.url))

/**
 * The page, by how far it is from the root of the service: a proxy may have put that below a path, which only the browser
 * knows. `{{}}` in it is the way to the root, `{{main.ts}}` the name that a file has now, and `{{preload}}` stands for the modules
 * that every page needs: without it, a browser learns of each of them only from the one before.
 */
const PAGES = { 'index.html': './', 'job.html': '../' }
/** What main.ts imports when it has chosen the language. */
const SHELL = 'views/shell.ts'

/**
 * esbuild makes a file of all that the same entries reach. What a view loads later reaches some of the shell, and so would cut it
 * into many files, each a request before anything is shown. Here it says that it needs the whole shell, which is there by then.
 */
const shellInOnePiece = {
  name: 'shell in one piece',
  setup: ({ onResolve, onLoad }) => {
    const views = join(source, 'views')
    const later = new Set()
    onResolve({ filter: /^\.\/.*\.ts$/ }, ({ kind, importer, path, resolveDir }) => {
      if (kind === 'dynamic-import' && dirname(importer) === views) later.add(join(resolveDir, path))
    })
    onLoad({ filter: /\.ts$/ }, ({ path }) =>
      later.has(path)
        ? { contents: `${readFileSync(path, 'utf8')}\nimport ${JSON.stringify(join(source, SHELL))}`, loader: 'ts' }
        : undefined,
    )
  },
}

/** The names of a module's file and of all that it imports at its beginning. */
const modulesOf = (outputs, path, found = new Set()) => {
  if (found.has(path)) return found
  found.add(path)
  for (const each of outputs[path].imports) if (each.kind === 'import-statement') modulesOf(outputs, each.path, found)
  return found
}

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
    plugins: [shellInOnePiece],
    // V8 compiles them while they are loaded, beside the main thread, and not one by one when they are first called.
    banner: { js: '//# allFunctionsCalledOnLoad' },
  })
  const names = new Map(
    Object.entries(metafile.outputs)
      .filter(([, { entryPoint }]) => entryPoint)
      .map(([path, { entryPoint }]) => [entryPoint, basename(path)]),
  )
  const shell = Object.keys(metafile.outputs).find(path => metafile.outputs[path].entryPoint === SHELL)
  const preload = root =>
    [...modulesOf(metafile.outputs, shell)]
      .map(path => `<link rel="modulepreload" href="${root}dashboard/${basename(path)}" />`)
      .join('\n    ')
  const page = readFileSync(`${source}/index.html`, 'utf8')
  const nameOf = entry => {
    const name = names.get(entry)
    if (name === undefined) throw new Error(`index.html names ${entry}, which is no entry point of the dashboard.`)
    return name
  }
  for (const [name, root] of Object.entries(PAGES)) {
    const filled = page.replaceAll(/\{\{(.*?)\}\}/g, (_, entry) =>
      entry === '' ? root : entry === 'preload' ? preload(root) : nameOf(entry),
    )
    writeFileSync(`${directory}/${name}`, filled)
  }
}
