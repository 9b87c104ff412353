import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { sql } from './drizzle.ts'

const FOLDER = fileURLToPath(new URL('./functions/', import.meta.url))

/**
 * The generation of this version's functions: a number that grows when the functions change. `npm run generation` writes it
 * together with the hash of the files that it belongs to.
 */
export const { generation: GENERATION } = JSON.parse(readFileSync(`${FOLDER}generation.json`, 'utf8')) as {
  generation: number
}

/**
 * The schema of the functions and types of a generation. The files in `functions/` and the comments write `headway` for it.
 * While one version of the service replaces another, each uses the functions of its own schema.
 */
export const schemaOf = (generation: number): string => `headway_${generation}`

/** The schema of this version's functions, as statements name it. */
export const FUNCTIONS = schemaOf(GENERATION)

/** The same schema for SQL templates of Drizzle. */
export const functions = sql.identifier(FUNCTIONS)

/** The types come first. Functions may come in any order. */
const TYPES = 'types.sql'

/** The text that creates the functions in this generation's schema, and a hash of the files. */
export const readFunctions = (): { text: string; hash: string } => {
  const bodies = readdirSync(FOLDER).filter(name => name.endsWith('.sql') && name !== TYPES)
  const text = [TYPES, ...bodies.sort()].map(name => readFileSync(FOLDER + name, 'utf8')).join('\n')
  return {
    text: text.replaceAll(/\bheadway\./g, `${FUNCTIONS}.`),
    hash: createHash('sha256').update(text).digest('hex'),
  }
}
