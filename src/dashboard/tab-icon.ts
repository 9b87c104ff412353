import { isFinished, type JobStatus } from '../contract/states.ts'

const GROUND: Readonly<Record<JobStatus, string>> = {
  pending: '#5c6675',
  running: '#3a50d9',
  completed: '#15794a',
  failed: '#c1262d',
  cancelled: '#5c6675',
}

const CHECK = '<path d="m8 17 6 6 11-13" fill="none" stroke="#fff" stroke-width="4.5"/>'
const CROSS = '<path d="m9 9 14 14M23 9 9 23" fill="none" stroke="#fff" stroke-width="4.5"/>'

/** The percent as a number and a bar, which is still readable in the 16 pixels of a tab. */
const gauge = (percent: number): string =>
  '<text x="16" y="19" text-anchor="middle" font-family="Arial,sans-serif" font-weight="700" ' +
  `font-size="19" fill="#fff">${percent}</text><rect x="3" y="23" width="26" height="5" fill="#fff" fill-opacity=".35"/>` +
  `<rect x="3" y="23" width="${(26 * percent) / 100}" height="5" fill="#fff"/>`

/** The icon of a job's tab, as an address of the scheme data: how far the job is, or how it ended. */
export const tabIcon = (job: { status: JobStatus; progressPercent: number }): string => {
  const shape = !isFinished(job) ? gauge(job.progressPercent) : job.status === 'completed' ? CHECK : CROSS
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="${GROUND[job.status]}"/>${shape}</svg>`
  return `data:image/svg+xml,${encodeURIComponent(svg)}`
}
