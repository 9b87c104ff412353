import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { Condition } from '../../browser-client/condition.ts'
import { percent, text } from '../words.ts'

interface Bar {
  name: string
  progressPercent: number
  condition: Condition
  /** The job runs and its progress is not known: the bar only shows activity. */
  isUnknown?: boolean
}

/** A bar of progress. Its fill is moved by a transform, so that a change causes no layout. */
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
