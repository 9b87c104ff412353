/** What people do not see and models read: control and format characters, separators, and marks that can carry hidden text. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u{e0100}-\u{e01ef}]/gu

const escaped = (characters: string): string =>
  Array.from(
    { length: characters.length },
    (_, at) => `\\u${characters.charCodeAt(at).toString(16).padStart(4, '0')}`,
  ).join('')

/** JSON that means the same, with everything in it to be seen. */
export const visibleJson = (document: unknown): string => JSON.stringify(document).replace(INVISIBLE, escaped)

/** Text as one line that drives no terminal. */
export const visibleLine = (text: string): string => text.replace(INVISIBLE, ' ')
