// Writes openapi.yaml from the routes as they are compiled in dist/.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { buildOpenApi } from '../dist/http/openapi.js'

const file = fileURLToPath(new URL('../openapi.yaml', import.meta.url))
writeFileSync(file, await buildOpenApi())
console.log(`Wrote ${file}`)
