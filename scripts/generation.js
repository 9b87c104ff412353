// Gives the SQL functions the next generation when their text has changed since the last one: `npm run generation`. With
// --check it only says so. Node reads the TypeScript by itself.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readFunctions } from '../src/database/functions.ts'

const file = fileURLToPath(new URL('../src/database/functions/generation.json', import.meta.url))
const { hash: sha256 } = readFunctions()
const written = JSON.parse(readFileSync(file, 'utf8'))

if (written.sha256 !== sha256) {
  if (process.argv.includes('--check')) {
    console.error(
      'The SQL functions have changed and not their generation, by which versions that run beside each other find their ' +
        'own: run `npm run generation` and commit src/database/functions/generation.json.',
    )
    process.exit(1)
  }
  const generation = written.generation + 1
  writeFileSync(file, `${JSON.stringify({ generation, sha256 }, null, 2)}\n`)
  console.log(`The SQL functions are generation ${generation} now.`)
}
