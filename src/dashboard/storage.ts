/** Text that a page keeps. Where the browser forbids storage, as long as the page lives. */
export interface StoredText {
  read: () => string | null
  write: (value: string | null) => void
}

/** `area` is read late: where storage is forbidden, even naming it throws. */
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
        // It is kept in `unsaved`.
      }
    },
  }
}
