import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { Part } from '../data/batch-picture.ts'
import type { Lane, Segment, TimeSpan } from '../data/batch-timeline.ts'
import { ADDRESS } from '../router.ts'
import { dateAndTime, duration, hourAndMinute, moment, text, timeOfDay } from '../words.ts'
import * as icons from './icons.ts'

/** So many moments are written above the lines, the first and the last one included. */
const TICKS = 5
/** Over a shorter time, seconds are written as well. */
const PRECISE_MS = 600_000

const drawn = (part: string, { from, length }: Segment, condition?: string): TemplateResult =>
  html`<span
    class="stretch"
    data-part=${part}
    data-condition=${condition ?? nothing}
    .style=${`left: ${100 * from}%; width: ${100 * length}%`}
  ></span>`

/** The line in words. */
const saidOf = ({ job, seconds, condition }: Part, nowMs: number): string => {
  const said = [text(`condition.${condition}`)]
  if (job.startedAt !== null) said.push(text('picture.lane.from', { time: moment(Date.parse(job.startedAt), nowMs) }))
  if (seconds !== null) said.push(duration(seconds))
  if (job.attempt > 1) said.push(text('job.attempt', { attempt: job.attempt }))
  return said.join(', ')
}

/** One line of the timeline: a partition from its start to its end. */
export const partLane = (part: Part, lane: Lane, nowMs: number): TemplateResult => {
  const { job, condition, isSlow, seconds } = part
  const said = saidOf(part, nowMs)
  return html`<div class="line lane" ?data-slow=${isSlow} data-condition=${condition}>
    <div class="cell job" role="rowheader">
      ${icons.conditionIcon(condition)}
      <span class="title"><a href=${ADDRESS.job(job.id)} title=${job.name} dir="auto">${job.name}</a></span>
    </div>
    <div class="cell track" role="cell" title=${said}>
      <span class="vh">${said}</span>
      ${lane.waiting === null ? nothing : drawn('waiting', lane.waiting)}
      ${lane.earlier.map(each => drawn('earlier', each))}
      ${lane.present === null ? nothing : drawn('present', lane.present, condition)}
    </div>
    <div class="cell took" role="cell">
      ${isSlow ? html`<span class="badge" data-condition="not_advancing">${text('picture.slow')}</span>` : nothing}
      ${seconds === null ? text('picture.waiting') : duration(seconds)}
    </div>
  </div>`
}

/** The moments above the lines. */
export const laneTimes = ({ fromMs, toMs }: TimeSpan): TemplateResult => {
  const write = toMs - fromMs < PRECISE_MS ? timeOfDay : hourAndMinute
  const moments = Array.from({ length: TICKS }, (_, index) => fromMs + ((toMs - fromMs) * index) / (TICKS - 1))
  return html`<div class="cell times" role="columnheader">
    <span class="vh">${text('picture.timeline.span', { from: dateAndTime(fromMs), to: dateAndTime(toMs) })}</span>
    ${moments.map(
      (at, index) =>
        html`<time
          aria-hidden="true"
          title=${dateAndTime(at)}
          data-place=${index === 0 ? 'first' : index === TICKS - 1 ? 'last' : index}
          .style=${`left: ${(100 * index) / (TICKS - 1)}%`}
          >${write(at)}</time
        >`,
    )}
  </div>`
}
