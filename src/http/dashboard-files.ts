import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'

/** A file of the dashboard, ready to be sent. */
export interface DashboardFile {
  name: string
  type: string
  etag: string
  content: Buffer
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/**
 * Reads the files that the build makes of src/dashboard into memory. They are few, and no path in a request can lead to a file
 * outside of them. Throws when there was no build.
 */
export const readDashboard = (directory: URL): DashboardFile[] =>
  readdirSync(directory).flatMap(name => {
    const type = TYPES[extname(name)]
    if (type === undefined) return []
    const content = readFileSync(new URL(name, directory))
    return { name, type, content, etag: `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"` }
  })
