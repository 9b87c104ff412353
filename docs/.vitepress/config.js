import { copyFileSync, mkdirSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitepress'
import { slugify } from './slug.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** The path that the site is served below. GitHub serves the pages of a repository below its name. */
const BASE = process.env.DOCS_BASE || '/'

/** Files that pages link to and that are no pages, by their path from the root. The site has copies of them. */
const files = new Set()

/**
 * Where the site has a file of the repository. The ending lets browsers show it: most of them save a `.conf`, and take a `.ts` for
 * a film.
 */
const addressOf = path => (/\.(?:png|svg)$/.test(path) ? `files/${path}` : `files/${path}.txt`)

/** Pages that are one wide table. */
const WIDE = new Set(['reference/settings.md', 'reference/errors.md', 'reference/metrics.md', 'operate/alerts.md'])

const isFile = path => statSync(path, { throwIfNoEntry: false })?.isFile() === true

/** Where the site has a page of the repository. */
const pageAddressOf = path => `/${path.replace(/^docs\//, '')}`

/**
 * Links are written as they work in the repository, relative to the file. Here each one gets its address in the site: a page its
 * own, any other file that of its copy.
 */
const followFiles = markdown => {
  markdown.core.ruler.push('follow-files', ({ tokens, env }) => {
    const page = (env.realPath ?? env.path).slice(ROOT.length).replaceAll('\\', '/')
    for (const token of tokens.flatMap(({ children }) => children ?? [])) {
      const href = token.type === 'link_open' ? token.attrGet('href') : null
      if (href === null || /^(?:[a-z]+:|#)/.test(href)) continue
      const [, target, anchor] = /^([^#]*)(.*)$/.exec(href)
      const path = posix.join(posix.dirname(page), target)
      if (!isFile(join(ROOT, path))) throw new Error(`${page}: there is no ${href}`)
      if (path.endsWith('.md')) token.attrSet('href', pageAddressOf(path) + anchor)
      else {
        files.add(path)
        // VitePress puts the base before the addresses of pages only.
        token.attrSet('href', BASE + addressOf(path))
        token.attrSet('target', '_self')
      }
    }
  })
}

const copyFiles = ({ outDir }) => {
  for (const path of files) {
    const target = join(outDir, addressOf(path))
    mkdirSync(dirname(target), { recursive: true })
    copyFileSync(join(ROOT, path), target)
  }
}

const decisions = readdirSync(join(ROOT, 'docs/decisions'))
  .filter(name => /^\d/.test(name))
  .sort()
  .map(name => {
    const [, text] = /^# (.*)$/m.exec(readFileSync(join(ROOT, 'docs/decisions', name), 'utf8'))
    return { text, link: `/decisions/${name.replace('.md', '')}` }
  })

const sidebar = [
  { text: 'Overview', link: '/' },
  { text: 'In 60 seconds', link: '/start' },
  {
    text: 'Report',
    items: [
      { text: 'Ways to report', link: '/reporting/' },
      { text: 'Any command', link: '/reporting/command' },
      { text: 'Node', link: '/reporting/node' },
      { text: 'Shell script', link: '/reporting/shell' },
      { text: 'Python', link: '/reporting/python' },
      { text: 'Trainings', link: '/reporting/trainings' },
      { text: 'SQL', link: '/reporting/sql' },
      { text: 'A worker of your own', link: '/reporting/worker' },
      { text: 'Queues', link: '/reporting/queues' },
      { text: 'CI, Kubernetes, systemd', link: '/reporting/scheduled' },
    ],
  },
  {
    text: 'Jobs',
    items: [
      { text: 'How a job lives', link: '/jobs/states' },
      { text: 'Deadlines', link: '/jobs/deadlines' },
      { text: 'Batches and partitions', link: '/jobs/batches' },
      { text: 'Stages', link: '/jobs/stages' },
      { text: 'Estimates', link: '/jobs/estimates' },
    ],
  },
  {
    text: 'Read, follow, show',
    items: [
      { text: 'Read and wait', link: '/reading/jobs' },
      { text: 'Follow live', link: '/reading/streams' },
      { text: 'History and statistics', link: '/reading/history' },
      { text: 'The dashboard', link: '/dashboard' },
      { text: 'Your own pages', link: '/embedding' },
      { text: 'Badges', link: '/reading/badges' },
      { text: 'Webhooks', link: '/webhooks' },
      { text: 'Chats and mail', link: '/chats' },
      { text: 'Assistants', link: '/assistants' },
    ],
  },
  {
    text: 'Operate',
    items: [
      { text: 'Deploy', link: '/operate/deploy' },
      { text: 'TLS and proxies', link: '/operate/proxy' },
      { text: 'Postgres', link: '/operate/postgres' },
      { text: 'Tokens', link: '/operate/tokens' },
      { text: 'Limits', link: '/operate/limits' },
      { text: 'What to alert on', link: '/operate/alerts' },
      { text: 'Outages and overload', link: '/operate/outages' },
      { text: 'Back up and restore', link: '/operate/backup' },
      { text: 'Failover of the database', link: '/operate/failover' },
      { text: 'Upgrade', link: '/operate/upgrade' },
      { text: 'Import jobs of another table', link: '/operate/import' },
      { text: 'How many workers', link: '/operate/scale' },
      { text: 'Several installations', link: '/operate/cells' },
      { text: 'Troubleshooting', link: '/operate/troubleshooting' },
    ],
  },
  {
    text: 'Reference',
    items: [
      { text: 'API', link: '/reference/api' },
      { text: 'Errors', link: '/reference/errors' },
      { text: 'Settings', link: '/reference/settings' },
      { text: 'Command line', link: '/reference/cli' },
      { text: 'SQL', link: '/reference/sql' },
      { text: 'Metrics', link: '/reference/metrics' },
    ],
  },
  {
    text: 'Inside',
    items: [
      { text: 'Architecture', link: '/architecture/' },
      { text: 'Layout', link: '/architecture/layout' },
      { text: 'Add a field, a route, …', link: '/architecture/changing' },
      { text: 'Development', link: '/architecture/development' },
      { text: 'Contributing', link: '/CONTRIBUTING' },
      { text: 'Security', link: '/SECURITY' },
      { text: 'Changelog', link: '/CHANGELOG' },
      { text: 'Decisions', link: '/decisions/', collapsed: true, items: decisions },
    ],
  },
]

export default defineConfig({
  title: 'Headway',
  description: 'How far your long-running jobs are: the manual.',
  lang: 'en',
  base: BASE,
  cleanUrls: false,
  // The root, because some pages stay there, where people and GitHub look for them.
  srcDir: '..',
  srcExclude: ['README.md', 'test/**', '**/.*/**', '**/dist*/**'],
  rewrites: { 'docs/:rest*': ':rest*' },
  outDir: '.vitepress/dist',
  cacheDir: '.vitepress/cache',
  metaChunk: true,
  markdown: { anchor: { slugify }, toc: { slugify }, headers: { slugify }, config: followFiles },
  // A page without sections has no list of them, and its tables need the room.
  transformPageData: page =>
    WIDE.has(page.relativePath) ? { frontmatter: { ...page.frontmatter, aside: false } } : {},
  buildEnd: copyFiles,
  themeConfig: {
    search: { provider: 'local' },
    outline: { level: [2, 3] },
    nav: [
      { text: 'Start', link: '/start' },
      { text: 'Operate', link: '/operate/deploy' },
      { text: 'API', link: '/reference/api' },
      { text: 'Troubleshooting', link: '/operate/troubleshooting' },
    ],
    sidebar,
  },
})
