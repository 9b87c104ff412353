import { settled } from './feed.ts'

const FOCUSABLE = 'a[href], button:not(:disabled), input, select, [tabindex]'

/** An element and its ancestors, the innermost first: where to move the focus when the element is removed. */
export const surroundingsOf = (element: Element | null): Element[] => {
  const path: Element[] = []
  for (let each = element; each !== null && each !== document.body; each = each.parentElement) path.push(each)
  return path
}

/** The element at the place of a removed row, or in the row before it. */
const inNeighbour = (place: Element, row: Element): HTMLElement | null => {
  const index = Number(row.getAttribute('aria-rowindex'))
  for (const near of [index, index - 1]) {
    const found = place.querySelector<HTMLElement>(`[role=row][aria-rowindex="${near}"] :is(${FOCUSABLE})`)
    if (found) return found
  }
  return null
}

/** Focuses the first of these elements that still exists, or the one nearest to it. */
export const focusNear = (path: readonly Element[]): void => {
  const [wanted] = path
  if (wanted instanceof HTMLElement && wanted.isConnected) {
    wanted.focus({ preventScroll: true })
    if (document.activeElement === wanted) return
  }
  const gone = path.find(element => element.hasAttribute('aria-rowindex') && !element.isConnected)
  for (const place of path) {
    if (!place.isConnected) continue
    const found = (gone && inNeighbour(place, gone)) ?? place.querySelector<HTMLElement>(FOCUSABLE)
    if (found === null) continue
    found.focus({ preventScroll: true })
    return
  }
}

/** Whether no element has the focus, because the one that had it was removed or moved. */
export const isFocusLost = (): boolean => document.activeElement === null || document.activeElement === document.body

/**
 * Keeps the focus near its place. Jobs end while a keyboard user is on them, and buttons disappear after they were pressed. The
 * browser would then begin at the top of the page; this moves the focus to the nearest element.
 */
export const keepFocus = (): void => {
  let path: readonly Element[] = []
  addEventListener('focusin', ({ target }) => (path = surroundingsOf(target as Element)))
  // A click beside all elements removes the focus on purpose.
  addEventListener('pointerdown', () => (path = []))
  settled.add(() => {
    if (path.length > 0 && isFocusLost()) focusNear(path)
  })
}
