/** The value below which a share of the values lies (nearest rank); null of none. */
export const percentile = (values, share) => {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
}

export const median = values => percentile(values, 0.5)
