import { durationText } from '../contract/time-left.ts'

export const formatCount = (count: number): string => count.toLocaleString('en-US')

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB']

/** `162.4 MB`; in powers of 1000. */
export const formatBytes = (bytes: number): string => {
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), BYTE_UNITS.length - 1)
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${BYTE_UNITS[power] ?? ''}`
}

/** `12 min 4 s`, rounded up to whole seconds. */
export const formatSeconds = (seconds: number): string => durationText(Math.ceil(seconds), 'en')
