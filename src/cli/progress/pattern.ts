/** The groups of a match, as text. */
export interface PatternMatch {
  done?: string | undefined
  total?: string | undefined
  percent?: string | undefined
}

const NAMES = ['done', 'total', 'percent']

/**
 * Compiles a pattern with the flag `u` if it is valid with it, so that letters beyond ASCII count as one character; otherwise
 * without.
 */
export const compilePattern = (pattern: string): RegExp => {
  try {
    return new RegExp(pattern, 'u')
  } catch {
    return new RegExp(pattern)
  }
}

/** What is wrong with a pattern, as a sentence; null: nothing. */
export const problemOf = (pattern: string): string | null => {
  let expression: RegExp
  try {
    expression = compilePattern(pattern)
    // The empty alternative matches, so that the pattern's groups can be counted.
    const { length, groups = {} } = new RegExp(`${pattern}|`, expression.flags).exec('') ?? { length: 1 }
    const unknown = Object.keys(groups).filter(name => !NAMES.includes(name))
    if (length === 1) return `The pattern has no group that holds a number: write it as (\\d+), such as 'Row (\\d+)'.`
    if (unknown.length > 0) return `The group ${unknown.join(', ')} is none of done, total and percent.`
    return null
  } catch (error) {
    return error instanceof Error ? `${error.message}.` : 'It is no regular expression.'
  }
}

/**
 * The match by the groups `done`, `total` and `percent`. Without named groups, the first group that took part is the count and
 * the second the total.
 */
export const matchIn = (expression: RegExp, line: string): PatternMatch | null => {
  const match = expression.exec(line)
  if (!match) return null
  const { done, total, percent } = match.groups ?? {}
  if (match.groups) return { done, total, percent }
  const [first, second] = (match.slice(1) as (string | undefined)[]).filter(group => group !== undefined)
  return { done: first, total: second }
}
