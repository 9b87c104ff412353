/**
 * What people do not see and models read: control and format characters, separators, what programs may ignore (variation
 * selectors, fillers, tags), the empty pattern of Braille. Each of them can carry hidden text. Ends of lines and tabs are seen,
 * and so is the selector that makes a picture of the character before it.
 */
const INVISIBLE =
  /(?![\n\t])(?!(?<=\p{Emoji})\ufe0f)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu

const named = (character: string): string => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`

/** Text with everything in it to be seen: `\u{202e}` for what is not. */
export const visibleText = (text: string): string => text.replace(INVISIBLE, named)

/** The same of every text in a document, names of members included. */
export const visible = <Value>(value: Value): Value => {
  const convert = (part: unknown): unknown => {
    if (typeof part === 'string') return visibleText(part)
    if (Array.isArray(part)) return part.map(convert)
    if (part === null || typeof part !== 'object') return part
    return Object.fromEntries(Object.entries(part).map(([name, item]) => [visibleText(name), convert(item)]))
  }
  return convert(value) as Value
}

/** Text as one line that drives no terminal. */
export const visibleLine = (text: string): string => text.replace(INVISIBLE, ' ').replace(/[\n\t]/g, ' ')
