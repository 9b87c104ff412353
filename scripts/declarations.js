// Writes the types of a package: for each entry one file, and what several entries need in another one beside them.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { rollup } from 'rollup'
import { dts } from 'rollup-plugin-dts'

const EXPORTS = /^export \{([^}]*)\}/gm

/** `A as B` → `B` */
const exportedName = specifier => specifier.trim().split(' ').at(-1)

/** Says of each name that is no value that it is a type: `export type *` of the sources became a list of names. */
const markTypes = (code, values) =>
  code.replaceAll(EXPORTS, (_, list) => {
    const marked = list.split(',').map(specifier => {
      const name = specifier.trim()
      return values.includes(exportedName(name)) ? name : `type ${name}`
    })
    return `export { ${marked.join(', ')} }`
  })

/**
 * Writes `directory/<entry>.d.ts`, which is CommonJS's, and `<entry>.d.mts`, which hands on the same: a class must be one type for
 * both. `entries` are files by the name of the entry, `values` what each exports that is there when the program runs.
 */
export const writeDeclarations = async ({ entries, values, tsconfig, directory }) => {
  const typesOnly = {
    name: 'types only',
    renderChunk: (code, { isEntry, name }) => (isEntry ? markTypes(code, values[name]) : null),
  }
  const onwarn = ({ message }) => {
    throw new Error(message)
  }
  const bundle = await rollup({
    input: entries,
    plugins: [dts({ tsconfig }), typesOnly],
    external: [/^node:/, 'react'],
    onwarn,
  })
  try {
    await bundle.write({
      dir: directory,
      format: 'es',
      entryFileNames: '[name].d.ts',
      chunkFileNames: 'shared-[hash].d.ts',
    })
  } finally {
    await bundle.close()
  }
  for (const entry of Object.keys(entries)) {
    writeFileSync(join(directory, `${entry}.d.mts`), `export * from './${entry}.js'\n`)
  }
}
