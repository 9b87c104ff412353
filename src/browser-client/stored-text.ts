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
