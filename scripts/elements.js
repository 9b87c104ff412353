// Bundles src/elements into one file that a page of any origin may load with one script tag.
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
