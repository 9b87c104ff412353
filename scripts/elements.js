// Bundles src/elements into one file that a page of any origin may load with one script tag, and declares what the folders for
// users of the package export.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { BUNDLING } from './bundling.js'

const source = fileURLToPath(new URL('../src/elements', import.meta.url))

/** Writes the elements, with all they need, to `file`. */
export const buildElements = async file => {
  await build({
    ...BUNDLING,
    absWorkingDir: source,
    entryPoints: ['index.ts'],
    inject: ['without-page.ts'],
    outfile: file,
    tsconfig: `${source}/tsconfig.json`,
  })
}

/** Writes the types of headway/client, headway/elements and headway/react to `directory`. Says whether it went well. */
export const declareExports = (compiler, directory) => {
  const project = fileURLToPath(new URL('../src/react', import.meta.url))
  const emit = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--sourceMap', 'false', '--noCheck']
  const root = fileURLToPath(new URL('../src', import.meta.url))
  const args = [compiler, '-p', project, ...emit, '--rootDir', root, '--outDir', directory]
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status === 0
}
