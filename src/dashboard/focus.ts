import { settled } from './feed.ts'

const FOCUSABLE = 'a[href], button:not(:disabled), input, select, [tabindex]'

/** An element and what is around it, the innermost first: where to look when it has gone. */
export const surroundingsOf = (element: Element | null): Element[] => {
  const path: Element[] = []
  for (let each = element; each !== null && each !== document.body; each = each.parentElement) path.push(each)
  return path
}

/** Of a row that has gone, what now is at its place, or before it. */
const inNeighbour = (place: Element, row: Element): HTMLElement | null => {
  const index = Number(row.getAttribute('aria-rowindex'))
  for (const near of [index, index - 1]) {
    const found = place.querySelector<HTMLElement>(`[role=row][aria-rowindex="${near}"] :is(${FOCUSABLE})`)
    if (found) return found
  }
  return null
}

/** Gives the focus to the first of these elements, or to what is nearest to it and still there. */
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

/** Nothing has the focus: what had it was taken out of the page, or put elsewhere in it. */
export const isFocusLost = (): boolean => document.activeElement === null || document.activeElement === document.body

/**
 * Jobs end while somebody stands on them with the keyboard, and buttons go once they were pressed. The browser then begins at
 * the top of the page; this goes to what is nearest.
 */
export const keepFocus = (): void => {
  let path: readonly Element[] = []
  addEventListener('focusin', ({ target }) => (path = surroundingsOf(target as Element)))
  // Whoever clicks beside everything wants nothing to have it.
  addEventListener('pointerdown', () => (path = []))
  settled.add(() => {
    if (path.length > 0 && isFocusLost()) focusNear(path)
  })
}
