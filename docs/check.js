// Fails when a link of the built site leads to a page, a file or a heading that is not there. VitePress looks at pages alone.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SITE = fileURLToPath(new URL('.vitepress/dist/', import.meta.url))
const BASE = process.env.DOCS_BASE || '/'

const pages = new Map(
  readdirSync(SITE, { recursive: true })
    .filter(path => path.endsWith('.html'))
    .map(path => [path.replaceAll('\\', '/'), readFileSync(join(SITE, path), 'utf8')]),
)
const ids = new Map(
  [...pages].map(([path, html]) => [path, new Set([...html.matchAll(/ id="([^"]+)"/g)].map(match => match[1]))]),
)

/** The file of the site that an address leads to; null where there is none. */
const fileAt = ({ pathname }) => {
  if (!pathname.startsWith(BASE)) return null
  const path = decodeURIComponent(pathname.slice(BASE.length))
  const file = [path, `${path}.html`, join(path, 'index.html')].find(name =>
    statSync(join(SITE, name), { throwIfNoEntry: false })?.isFile(),
  )
  return file ?? null
}

const leadsNowhere = (page, link) => {
  const url = new URL(link.replaceAll('&amp;', '&'), `http://site${BASE}${page}`)
  if (url.host !== 'site' || url.protocol !== 'http:') return false
  const file = fileAt(url)
  if (file === null) return true
  const anchor = decodeURIComponent(url.hash.slice(1))
  return anchor !== '' && !ids.get(file)?.has(anchor)
}

let links = 0
let dead = 0
for (const [page, html] of pages) {
  for (const [, link] of html.matchAll(/ (?:href|src|srcset)="([^"]+)"/g)) {
    links += 1
    if (!leadsNowhere(page, link)) continue
    dead += 1
    console.error(`${page}: ${link} leads nowhere`)
  }
}
if (pages.size < 40 || !existsSync(join(SITE, 'index.html'))) throw new Error(`The site has ${pages.size} pages only.`)
console.log(`${pages.size} pages, ${links} links, ${dead} of them dead`)
process.exit(dead === 0 ? 0 : 1)
