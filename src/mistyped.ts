/** A name that is shorter than this is near to many others. */
const MIN_LENGTH = 8
const MAX_EDITS = 2

/** How many insertions, deletions, replacements and swaps of neighbours make `b` of `a` (optimal string alignment distance). */
const editsBetween = (a: string, b: string): number => {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, at) => at)]
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (rows[i - 1]?.[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swaps = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      const swapped = swaps ? (rows[i - 2]?.[j - 2] ?? 0) + 1 : Infinity
      row.push(Math.min((rows[i - 1]?.[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replaced, swapped))
    }
    rows.push(row)
  }
  return rows[a.length]?.[b.length] ?? Infinity
}

/**
 * Variables of `environment` that are no setting and nearly have the name of one that is not set, as sentences for the operator. Values
 * are not shown.
 */
export const findMistyped = (environment: NodeJS.ProcessEnv, settings: readonly string[]): string[] => {
  const known = new Set(settings)
  const wanted = settings.filter(name => name.length >= MIN_LENGTH && (environment[name] ?? '') === '')
  return Object.keys(environment).flatMap(name => {
    if (known.has(name) || name.length < MIN_LENGTH - MAX_EDITS) return []
    const meant = wanted.find(
      setting =>
        Math.abs(setting.length - name.length) <= MAX_EDITS && editsBetween(name.toUpperCase(), setting) <= MAX_EDITS,
    )
    return meant === undefined ? [] : [`${name} is no setting of Headway, and is not used: ${meant} may be meant.`]
  })
}

/** Names of other variables that hold the URL of a Postgres. */
export const findPostgresUrls = (environment: NodeJS.ProcessEnv): string[] =>
  Object.keys(environment).filter(
    name => !name.startsWith('DATABASE_') && /^postgres(?:ql)?:\/\//.test(environment[name] ?? ''),
  )
