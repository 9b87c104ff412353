import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { sql } from './drizzle.ts'

const FOLDER = fileURLToPath(new URL('./functions/', import.meta.url))

/**
 * The number of this version's functions: a version with other functions has another, and a later one a greater.
 * `npm run generation` writes it, beside the hash of the files that it stands for.
 */
export const { generation: GENERATION } = JSON.parse(readFileSync(`${FOLDER}generation.json`, 'utf8')) as {
  generation: number
}

/**
 * The schema that the functions and types of a generation live in. The files of `functions/` call it `headway`, and so do
 * comments. Two versions of the service find each their own functions, while one replaces the other.
 */
export const schemaOf = (generation: number): string => `headway_${generation}`

/** The schema of this version's functions, which statements name. */
export const FUNCTIONS = schemaOf(GENERATION)

/** The same for templates of Drizzle. */
export const functions = sql.identifier(FUNCTIONS)

/** Types come first; what a function calls may come after it. */
const TYPES = 'types.sql'

/** The text of the functions as they are made in the schema of this generation, and a hash of what is in the files. */
export const readFunctions = (): { text: string; hash: string } => {
  const bodies = readdirSync(FOLDER).filter(name => name.endsWith('.sql') && name !== TYPES)
  const text = [TYPES, ...bodies.sort()].map(name => readFileSync(FOLDER + name, 'utf8')).join('\n')
  return {
    text: text.replaceAll(/\bheadway\./g, `${FUNCTIONS}.`),
    hash: createHash('sha256').update(text).digest('hex'),
  }
}
