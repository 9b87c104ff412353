/** A text that a page stores. If the browser forbids storage, it is kept as long as the page exists. */
export interface StoredText {
  read: () => string | null
  write: (value: string | null) => void
}

/** `area` is read on use: where storage is forbidden, reading the property throws. */
export const storedText = (area: () => Storage, key: string): StoredText => {
  let unsaved: string | null = null
  return {
    read() {
      try {
        return area().getItem(key)
      } catch {
        return unsaved
      }
    },
    write(value) {
      unsaved = value
      try {
        if (value === null) area().removeItem(key)
        else area().setItem(key, value)
      } catch {
        // The text is kept in `unsaved`.
      }
    },
  }
}

/** A list of ids that a page stores, the newest last, of which at most `most` are kept. */
export interface StoredIds {
  read: () => string[]
  write: (ids: readonly string[]) => void
}

export const storedIds = (area: () => Storage, key: string, most: number): StoredIds => {
  const stored = storedText(area, key)
  return {
    read() {
      try {
        const ids: unknown = JSON.parse(stored.read() ?? '[]')
        return Array.isArray(ids) ? ids.filter(id => typeof id === 'string') : []
      } catch {
        // The stored text was written by another program.
        return []
      }
    },
    write: ids => stored.write(ids.length === 0 ? null : JSON.stringify(ids.slice(-most))),
  }
}
