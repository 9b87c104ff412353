import { HeadwayError } from '../contract/errors.ts'
import type { StreamFormat } from '../live/live.ts'

interface Format {
  format: StreamFormat
  type: string
}

const EVENTS: readonly Format[] = [
  { format: 'sse', type: 'text/event-stream' },
  { format: 'ndjson', type: 'application/x-ndjson' },
]

/**
 * A stream of one job can be text, one line per change. In a stream of several jobs, a line would not say which job it is
 * about.
 */
const WITH_TEXT: readonly Format[] = [...EVENTS, { format: 'text', type: 'text/plain' }]

/** How much `range` says about `type`: 3 exact, 2 its main type, 1 anything, 0 nothing. */
const specificity = (range: string, type: string): number => {
  if (range === type) return 3
  if (range === `${type.slice(0, type.indexOf('/'))}/*`) return 2
  return range === '*/*' ? 1 : 0
}

/** The weight of `type`: that of the most specific range that covers it (RFC 9110, section 12.5.1). */
const weightOf = (type: string, accept: string): number => {
  let best = { specificity: 0, weight: 0 }
  for (const part of accept.toLowerCase().split(',')) {
    const [range = '', ...parameters] = part.split(';').map(text => text.trim())
    const covers = specificity(range, type)
    if (covers <= best.specificity) continue
    const quality = parameters.find(parameter => parameter.startsWith('q='))
    best = { specificity: covers, weight: quality === undefined ? 1 : Number(quality.slice(2)) || 0 }
  }
  return best.weight
}

/** The format of a stream by the Accept header; SSE if the client names no preference. Raises `not_acceptable`. */
export const streamFormat = (accept: string | undefined, { ofOneJob }: { ofOneJob: boolean }): StreamFormat => {
  if (accept === undefined || accept === '') return 'sse'
  let best: { format: StreamFormat | null; weight: number } = { format: null, weight: 0 }
  const formats = ofOneJob ? WITH_TEXT : EVENTS
  for (const { format, type } of formats) {
    const weight = weightOf(type, accept)
    if (weight > best.weight) best = { format, weight }
  }
  if (best.format !== null) return best.format
  const types = formats.map(({ type }) => type).join(', ')
  throw new HeadwayError('not_acceptable', `This stream is one of ${types}: accept one.`)
}
