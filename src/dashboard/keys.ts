import { ADDRESS, currentRoute, navigate } from './router.ts'
import { storedText } from '../browser-client/stored-text.ts'

/** Single keys may be switched off: whoever dictates to the browser would press them with each word (WCAG 2.1.4). */
const stored = storedText(() => localStorage, 'headway.keys')

export const areKeysOn = (): boolean => stored.read() !== 'off'
export const switchKeys = (on: boolean): void => stored.write(on ? null : 'off')

/** A list that knows more rows than the document has. */
interface Movable extends Element {
  move: (step: number) => boolean
}

const TYPING = 'input, select, textarea, [contenteditable]'
/** The lists of a page whose rows lead somewhere. */
const LISTS = 'main virtual-rows, main [role=table]:not(:has(virtual-rows))'
const LINKS = '[role=rowgroup]:not(.heading) [role=row] a[href]:not(.badge)'

const isMovable = (list: Element): list is Movable => 'move' in list

/** Moves the focus to the next row of the list that has it, or into the first list of the page. */
const moveRow = (step: number): boolean => {
  const lists = [...document.querySelectorAll(LISTS)].filter(list => list.querySelector(LINKS) !== null)
  const list = lists.find(each => each.contains(document.activeElement)) ?? lists[0]
  if (list === undefined) return false
  if (isMovable(list)) return list.move(step)
  const rows = [...list.querySelectorAll('[role=rowgroup]:not(.heading) [role=row]')]
  const at = rows.findIndex(row => row.contains(document.activeElement))
  const link = rows[at === -1 ? 0 : at + step]?.querySelector<HTMLElement>('a[href]')
  link?.focus()
  return link != null
}

const SEARCH = 'main input[type=search]'

/** Moves the focus into the field that finds jobs; pages without one lead to the list that has it. */
const find = (): boolean => {
  const field = document.querySelector<HTMLInputElement>(SEARCH)
  if (field === null) {
    if (currentRoute().page === 'jobs') return false
    navigate(ADDRESS.jobs)
    // The list renders in the next frame, after the page has taken the focus.
    requestAnimationFrame(() => setTimeout(() => document.querySelector<HTMLInputElement>(SEARCH)?.focus()))
    return true
  }
  field.focus()
  field.select()
  return true
}

/** The keys that act without a field or a button: `help` shows what they do. */
export const watchKeys = (help: () => void): void => {
  const actions: Readonly<Record<string, () => boolean>> = {
    '/': find,
    j: () => moveRow(1),
    k: () => moveRow(-1),
    '?': () => {
      help()
      return true
    },
  }
  addEventListener('keydown', event => {
    const { target, key } = event
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return
    if (target instanceof Element && target.closest(TYPING) !== null) return
    if (document.querySelector('dialog[open]') !== null) return
    const action = Object.hasOwn(actions, key) ? actions[key] : undefined
    if (action !== undefined && areKeysOn() && action()) event.preventDefault()
  })
}
