import { MAX_COUNT } from '../../contract/job.ts'
import type { Report } from '../../worker/headway.ts'

/** A report, and what is added to the count. */
export type LineReport = Report & { increment?: number }

/** A heartbeat with its payload is not longer, and more than this is not kept. */
export const MAX_LINE_LENGTH = 8 * 1024

const FRACTION = /^(\d+)\s*\/\s*(\d+)$/
const PERCENT = /^(\d+(?:\.\d+)?)\s*%$/

const FIELDS = [
  'processedCount',
  'increment',
  'totalCount',
  'progressPercent',
  'unit',
  'etaSeconds',
  'throughputPerSecond',
  'stage',
  'message',
  'payload',
] as const satisfies readonly (keyof LineReport)[]

const ofJson = (text: string): LineReport | null => {
  try {
    const value = JSON.parse(text) as Record<string, unknown> | null
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
    return Object.fromEntries(FIELDS.filter(field => value[field] !== undefined).map(field => [field, value[field]]))
  } catch {
    return null
  }
}

/**
 * What a program says of itself in one line: `42/100`, as Argo Workflows has it, `42 %`, or a JSON object with the fields of a
 * heartbeat. Null for anything else.
 */
export const reportOfLine = (line: string): LineReport | null => {
  const text = line.trim()
  const [, done, total] = FRACTION.exec(text) ?? []
  if (done !== undefined && total !== undefined) {
    const counts = { processedCount: Number(done), totalCount: Number(total) }
    return Math.max(counts.processedCount, counts.totalCount) <= MAX_COUNT ? counts : null
  }
  const percent = Number(PERCENT.exec(text)?.[1] ?? NaN)
  if (percent <= 100) return { progressPercent: Math.floor(percent) }
  return text.startsWith('{') ? ofJson(text) : null
}
