// Builds packages/worker and packages/client out of src/. As a program it builds both with their types: that is what `npm pack`
// and `npm publish` run before they pack one.
// Each entry is there as CommonJS and as a module. In Node the module hands on what the CommonJS exports, so that a program that
// loads both has one StopError: Node 20 cannot require a module. Browsers and bundlers get modules that need no CommonJS.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, transform } from 'esbuild'
import { BUNDLING } from './bundling.js'
import { buildElements } from './elements.js'
import { replaceFolder } from './replace-folder.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

const WORKER = { index: join(ROOT, 'src/worker/headway.ts') }
const CLIENT = {
  index: join(ROOT, 'src/browser-client/index.ts'),
  elements: join(ROOT, 'src/elements/index.ts'),
  react: join(ROOT, 'src/react/index.ts'),
}

/** The values that each entry exports. */
const valuesOf = async entries => {
  const options = { entryPoints: entries, outdir: 'unwritten', write: false, metafile: true, logLevel: 'error' }
  const { metafile } = await build({ ...options, bundle: true, packages: 'external', format: 'esm', platform: 'node' })
  return Object.fromEntries(
    Object.entries(metafile.outputs).map(([file, output]) => [basename(file, '.js'), output.exports]),
  )
}

/** A module that exports what a CommonJS file does. A directive must come first, or servers that render do not heed it. */
const handOn = (source, values, file) => {
  const [directive = ''] = /^'use client'\n/.exec(readFileSync(source, 'utf8')) ?? []
  return `${directive}export { ${values.join(', ')} } from './${file}'\n`
}

/** One file without comments. Its lines are short, so that a stack trace says where. */
const bundleWorker = async (directory, values) => {
  await build({
    entryPoints: WORKER,
    outdir: directory,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    minifyWhitespace: true,
    minifySyntax: true,
    lineLimit: 120,
    logLevel: 'warning',
  })
  writeFileSync(join(directory, 'index.mjs'), handOn(WORKER.index, values.index, 'index.js'))
}

const asCommonJs = module => `${basename(module, '.mjs')}.js`

/** The client and the hook share a file. The elements are one file, the same that the service serves. */
const bundleClient = async (directory, values) => {
  const { index, react } = CLIENT
  await build({
    ...BUNDLING,
    // Whoever bundles it again does that.
    minify: false,
    entryPoints: { index, react },
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    chunkNames: 'shared-[hash]',
    splitting: true,
    external: ['react'],
    tsconfig: join(ROOT, 'src/react/tsconfig.json'),
  })
  await buildElements(join(directory, 'elements.mjs'))
  const modules = readdirSync(directory)
  for (const module of modules) {
    const { code } = await transform(readFileSync(join(directory, module), 'utf8'), {
      format: 'cjs',
      platform: 'node',
      minify: module === 'elements.mjs',
      legalComments: 'eof',
      // CommonJS does not know where it came from. The elements then ask the origin of their page, as when they are bundled.
      define: { 'import.meta.url': '"about:blank"' },
    })
    const renamed = modules.reduce((text, name) => text.replaceAll(`./${name}`, `./${asCommonJs(name)}`), code)
    writeFileSync(join(directory, asCommonJs(module)), renamed)
  }
  for (const [entry, source] of Object.entries(CLIENT)) {
    writeFileSync(join(directory, `${entry}.node.mjs`), handOn(source, values[entry], `${entry}.js`))
  }
}

const PACKAGES = {
  worker: { entries: WORKER, bundle: bundleWorker, tsconfig: join(ROOT, 'tsconfig.json') },
  client: { entries: CLIENT, bundle: bundleClient, tsconfig: join(ROOT, 'src/react/tsconfig.json') },
}

/** Builds both. Types take longer than all else, and only those who compile against a package need them. */
export const buildPackages = async ({ withTypes }) => {
  for (const [name, { entries, bundle, tsconfig }] of Object.entries(PACKAGES)) {
    const target = join(ROOT, 'packages', name, 'dist')
    const directory = `${target}-${process.pid}`
    try {
      mkdirSync(directory)
      const values = await valuesOf(entries)
      await bundle(directory, values)
      if (withTypes) {
        const { writeDeclarations } = await import('./declarations.js')
        await writeDeclarations({ entries, values, tsconfig, directory })
      }
      replaceFolder(target, directory)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPackages({ withTypes: true })
