import { readFileSync, readdirSync } from 'node:fs'
import { posix } from 'node:path'

const ROOT = new URL('../../', import.meta.url)

/** A file of the repository, by its path from the root. */
export const readFromRoot = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8')

const pagesBelow = (folder: string): string[] =>
  readdirSync(new URL(folder, ROOT), { withFileTypes: true })
    .flatMap(entry => {
      const path = posix.join(folder, entry.name)
      if (entry.isDirectory())
        return entry.name === 'node_modules' || entry.name.startsWith('.') ? [] : pagesBelow(path)
      return entry.name.endsWith('.md') ? [path] : []
    })
    .sort()

/** Every page that is written for readers, by its path from the root. */
export const allPages = (): string[] => [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...pagesBelow('docs'),
]

/** The pages on the use of Headway. Their commands are run. */
export const manualPages = (): string[] =>
  allPages().filter(page => page === 'README.md' || (page.startsWith('docs/') && !page.startsWith('docs/decisions/')))

/** A fenced block of a page. */
export interface Block {
  /** From 1. */
  line: number
  language: string
  code: string
  /** Why it is not run: `<!-- not run: … -->` before the block. */
  notRun: string | null
  /** Commands that make what the reader of the block has already: `<!-- before: … -->`. */
  before: string
}

const markBefore = (lines: readonly string[], index: number): { mark: string; remark: string } => {
  const [, mark = '', remark = ''] =
    (lines[index - 1] === '' && /^<!-- (not run|before): (.*) -->$/.exec(lines[index - 2] ?? '')) || []
  return { mark, remark }
}

/** All fenced blocks of a page, in order. Raises where a fence is indented or left open: a reader of blocks would miss it. */
export const blocksOf = (page: string): Block[] => {
  const lines = readFromRoot(page).split('\n')
  const blocks: Block[] = []
  for (let index = 0; index < lines.length; index += 1) {
    const [, indent, fence, language = ''] = /^(\s*)(`{3,}|~{3,})\s*([^\s`]*)/.exec(lines[index] ?? '') ?? []
    if (fence === undefined) continue
    const line = index + 1
    if (indent !== '') throw new Error(`${page}:${line}: a block must begin at the beginning of its line`)
    const { mark, remark } = markBefore(lines, index)
    const end = lines.indexOf(fence, index + 1)
    if (end === -1) throw new Error(`${page}:${line}: the block does not end`)
    blocks.push({
      line,
      language,
      code: lines.slice(index + 1, end).join('\n') + '\n',
      notRun: mark === 'not run' ? remark : null,
      before: mark === 'before' ? remark : '',
    })
    index = end
  }
  return blocks
}

/** A file is saved under the name in its first lines, as its reader would save it. */
export const nameOf = ({ code }: Block): string | null =>
  /^(?:#!.*\n)?(?:#|\/\/) ([\w.-]+\.\w+)(?=\s)/.exec(code)?.[1] ?? null

/** The text of a page without its blocks and code. */
const proseOf = (page: string): string => {
  const lines = readFromRoot(page).split('\n')
  for (const { line, code } of blocksOf(page)) lines.fill('', line - 1, line + code.split('\n').length)
  return lines.join('\n').replace(/`+[^`\n]+`+/g, code => code.replace(/[[\]()<>]/g, ' '))
}

/** Where a page leads: addresses as they are written in its links and pictures. */
export const linksOf = (page: string): string[] =>
  [...proseOf(page).matchAll(/\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"/g)].map(([, a, b]) => a ?? b ?? '')

/**
 * The names under which a page's headings can be linked to, by the rule of GitHub (docs/.vitepress/slug.js): small letters,
 * without punctuation, with a hyphen for each space; a second one of the same name has `-1` after it.
 */
export const anchorsOf = (page: string): Set<string> => {
  const lines = readFromRoot(page).split('\n')
  for (const { line, code } of blocksOf(page)) lines.fill('', line - 1, line + code.split('\n').length)
  const seen = new Map<string, number>()
  const anchors = new Set<string>()
  for (const heading of lines.join('\n').matchAll(/^#{1,6} (.+)$/gm)) {
    const text = (heading[1] ?? '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    const slug = text
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, '')
      .replace(/\s/g, '-')
    const times = seen.get(slug) ?? 0
    seen.set(slug, times + 1)
    anchors.add(times === 0 ? slug : `${slug}-${times}`)
  }
  return anchors
}
