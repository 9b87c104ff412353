import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { Condition } from '../../browser-client/condition.ts'
import { percent, text } from '../words.ts'

interface Bar {
  name: string
  progressPercent: number
  condition: Condition
  /** It runs, and how far it is nobody can know: the bar only shows that something happens. */
  isUnknown?: boolean
}

/** A bar of progress. Its fill is moved, so that a change of it lays nothing out. */
export const bar = ({ name, progressPercent, condition, isUnknown = false }: Bar): TemplateResult =>
  html`<div
    class="bar"
    role="progressbar"
    aria-label=${name}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${isUnknown ? nothing : progressPercent}
    aria-valuetext=${`${isUnknown ? text('job.unknownTotal') : percent(progressPercent)}, ${text(`condition.${condition}`)}`}
    data-condition=${condition}
    ?data-unknown=${isUnknown}
  >
    <div class="fill" .style=${`transform: translateX(${isUnknown ? 0 : progressPercent - 100}%)`}></div>
  </div>`
