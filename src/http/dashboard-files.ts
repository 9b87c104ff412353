import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import type { Coding } from './content-coding.ts'

/** A file in one coding, ready to be sent. */
export interface CodedContent {
  content: Buffer
  etag: string
}

/** A file of the dashboard, ready to be sent: as it is, and as the build has compressed it. */
export interface DashboardFile extends CodedContent {
  name: string
  type: string
  compressed: Partial<Record<Coding, CodedContent>>
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

const ENDINGS: Readonly<Record<Coding, string>> = { br: '.br', gzip: '.gz' }

/** Each coding of a file has a tag of its own, since their bytes differ (RFC 9110, section 8.8.3.3). */
const read = (url: URL): CodedContent => {
  const content = readFileSync(url)
  return { content, etag: `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"` }
}

/**
 * Reads the files that the build makes of src/dashboard into memory. They are few, and no path in a request can lead to a file
 * outside of them. Throws when there was no build.
 */
export const readDashboard = (directory: URL): DashboardFile[] =>
  readdirSync(directory).flatMap(name => {
    const type = TYPES[extname(name)]
    if (type === undefined) return []
    const compressed: DashboardFile['compressed'] = {}
    for (const [coding, ending] of Object.entries(ENDINGS) as [Coding, string][]) {
      const url = new URL(name + ending, directory)
      if (existsSync(url)) compressed[coding] = read(url)
    }
    return { name, type, ...read(new URL(name, directory)), compressed }
  })
