// The coverage of src/ that the tests must reach, together with the service processes that they start.
import { fileURLToPath } from 'node:url'
import { Report } from 'c8'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** In per cent: the present coverage, less a little for code that only root or only another user reaches. */
const LEAST = { lines: 94, statements: 94, functions: 94, branches: 88 }

/** Prints the table of what processes with NODE_V8_COVERAGE have written to `tempDirectory`; false if it is too little. */
export const reportCoverage = async tempDirectory => {
  const report = new Report({ tempDirectory, src: [ROOT], include: ['dist/**'], reporter: ['text'], skipFull: true })
  await report.run()
  const summary = (await report.getCoverageMapFromAllCoverageFiles()).getCoverageSummary()
  const missed = Object.entries(LEAST).filter(([what, least]) => !(summary[what].pct >= least))
  for (const [what, least] of missed) console.log(`${summary[what].pct} % of ${what} covered: it must be ${least} %.`)
  return missed.length === 0
}
