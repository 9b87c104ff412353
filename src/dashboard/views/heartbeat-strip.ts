import { html, svg } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../contract/job.ts'
import { isFinished } from '../../contract/states.ts'
import { clock, text } from '../words.ts'
import { silenceText, timeTag } from './times.ts'

const WIDTH = 1_000
const HEIGHT = 40
/** A job that has just started has a strip of a minute, so that its first heartbeats do not fill it. */
const LEAST_MS = 60_000

/** When a job was heard of that only says that it is alive: one line for each heartbeat that is known, from its start to now. */
export const heartbeatStrip = (job: JobWithWorkers, times: readonly number[], nowMs: number): TemplateResult => {
  const end = isFinished(job) && job.finishedAt !== null ? Date.parse(job.finishedAt) : nowMs
  const first = times[0] ?? Date.parse(job.startedAt ?? job.createdAt)
  const start = Math.min(first, end - LEAST_MS)
  const x = (ms: number) => Math.round((WIDTH * (ms - start)) / (end - start))
  // Heartbeats at the same place are one line.
  const places = [...new Set(times.filter(ms => ms >= start && ms <= end).map(x))]
  const iso = (ms: number) => new Date(ms).toISOString()
  const silence = silenceText(job, nowMs)
  return html`<section class="card heartbeats">
    <h2>${text('strip.title')}</h2>
    <div
      class="strip"
      role="img"
      aria-label=${text('strip.label', { count: times.length, from: clock(start, nowMs), to: clock(end, nowMs) })}
      ?data-silent=${silence !== ''}
    >
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <line data-part="ground" x1="0" x2=${WIDTH} y1=${HEIGHT / 2} y2=${HEIGHT / 2}></line>
        ${places.map(place => svg`<line data-part="beat" x1=${place} x2=${place} y1="4" y2=${HEIGHT - 4}></line>`)}
      </svg>
    </div>
    <p class="strip-ends muted">
      ${timeTag(iso(start), clock(start, nowMs))}
      ${timeTag(iso(end), isFinished(job) ? clock(end, nowMs) : text('strip.now'))}
    </p>
    <p class="muted">${text('strip.hint')}</p>
  </section>`
}
