/** The codings in which the build compresses files, the smallest first. */
export const CODINGS = ['br', 'gzip'] as const
export type Coding = (typeof CODINGS)[number]

/** The weight of a coding in `Accept-Encoding`; null: the header does not name it. */
const weightOf = (name: string, accept: string): number | null => {
  for (const part of accept.toLowerCase().split(',')) {
    const [coding = '', ...parameters] = part.split(';').map(text => text.trim())
    if (coding !== name && !(name === 'gzip' && coding === 'x-gzip')) continue
    const quality = parameters.find(parameter => parameter.startsWith('q='))
    return quality === undefined ? 1 : Number(quality.slice(2)) || 0
  }
  return null
}

/**
 * The coding of an answer by the header `Accept-Encoding` (RFC 9110, section 12.5.3), among those that it has; null: as it is.
 * Of codings with the same weight the smallest is taken, and as it is only where the caller likes that better.
 */
export const codingFor = (accept: string | undefined, available: (coding: Coding) => boolean): Coding | null => {
  if (accept === undefined) return null
  const others = weightOf('*', accept) ?? 0
  let best: { coding: Coding | null; weight: number } = { coding: null, weight: 0 }
  for (const coding of CODINGS) {
    const weight = weightOf(coding, accept) ?? others
    if (available(coding) && weight > best.weight) best = { coding, weight }
  }
  // Without being named, the answer as it is is acceptable, and liked no better than what is named.
  const asItIs = weightOf('identity', accept)
  return asItIs !== null && asItIs > best.weight ? null : best.coding
}
