// Gives the SQL functions the next generation when their text has changed since the last one: `npm run generation`. With
// --check it only says so.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../src/database/functions/', import.meta.url))
const file = `${folder}generation.json`

// As readFunctions in src/database/functions.ts reads them.
const bodies = readdirSync(folder).filter(name => name.endsWith('.sql') && name !== 'types.sql')
const text = ['types.sql', ...bodies.sort()].map(name => readFileSync(folder + name, 'utf8')).join('\n')
const sha256 = createHash('sha256').update(text).digest('hex')
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
