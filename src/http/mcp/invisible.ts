/**
 * Characters that people do not see and models read: control and format characters, separators, characters that programs may
 * ignore (variation selectors, fillers, tags), and the empty Braille pattern. Each of them can carry hidden text. Line feeds,
 * tabs, and the selector that turns the character before it into an emoji are visible and stay.
 */
const INVISIBLE =
  /(?![\n\t])(?!(?<=\p{Emoji})\ufe0f)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu

const named = (character: string): string => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`

/** Text in which every invisible character is written out, such as `\u{202e}`. */
export const visibleText = (text: string): string => text.replace(INVISIBLE, named)

/** Does the same with every text in a document, names of members included. */
export const visible = <Value>(value: Value): Value => {
  const convert = (part: unknown): unknown => {
    if (typeof part === 'string') return visibleText(part)
    if (Array.isArray(part)) return part.map(convert)
    if (part === null || typeof part !== 'object') return part
    return Object.fromEntries(Object.entries(part).map(([name, item]) => [visibleText(name), convert(item)]))
  }
  return convert(value) as Value
}

/** Text as one line that cannot control a terminal. */
export const visibleLine = (text: string): string => text.replace(INVISIBLE, ' ').replace(/[\n\t]/g, ' ')
