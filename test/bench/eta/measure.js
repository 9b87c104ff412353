// How wrong estimates were, and how much they jumped.
//
// Error of one estimate: |estimated - true| / max(true, a twentieth of the attempt's whole time), at most 1. It is
// relative to what remains, because that is the question ("twenty minutes" for ten is as wrong as "two" for one); the
// twentieth keeps the last seconds, when whole seconds cannot be right, from outweighing the hours before. The limit makes
// "hours" for a minute no worse than "done now". No estimate counts 1: it helps as much as that. Reports before an
// attempt's first advance are left out, for nobody can know anything then, and so is the end.
// Two other measures are printed beside it, to see whether the verdict hangs on the choice: `ofTotal` divides by the
// attempt's whole time, `mild` is the same as the error but limited to 3.
//
// Jump: how far the predicted end moved since the report before, as a share of the attempt's whole time, at most 1.

const NO_ESTIMATE = 1

/** @param estimates `{ t, remaining, whole, estimate, first }`, in order of time; `first` where an attempt begins */
export const measure = estimates => {
  const sums = { error: 0, ofTotal: 0, mild: 0, jump: 0 }
  let jumps = 0
  let before = null
  for (const { t, remaining, whole, estimate, first } of estimates) {
    if (first) before = null
    const miss = estimate === null ? null : Math.abs(estimate - remaining)
    const relative = miss === null ? NO_ESTIMATE : miss / Math.max(remaining, whole / 20)
    sums.error += Math.min(1, relative)
    sums.mild += Math.min(3, relative)
    sums.ofTotal += miss === null ? NO_ESTIMATE : Math.min(1, miss / whole)
    const end = estimate === null ? null : t + estimate
    if (before !== null && end !== null) {
      sums.jump += Math.min(1, Math.abs(end - before) / whole)
      jumps += 1
    }
    before = end
  }
  const reports = estimates.length
  return {
    error: sums.error / reports,
    ofTotal: sums.ofTotal / reports,
    mild: sums.mild / reports,
    jump: jumps === 0 ? 0 : sums.jump / jumps,
  }
}

export const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length
