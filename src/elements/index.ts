import { HeadwayJobCard } from './job-card.ts'
import { HeadwayProgress } from './progress-element.ts'
import { HeadwayTopBar } from './top-bar.ts'

export { createHeadway, HeadwayProblem } from '../client/index.ts'
export type * from '../client/types.ts'
export type { ProgressEndDetail, ProgressErrorDetail, ProgressUpdateDetail } from './window-events.ts'
export { HeadwayJobCard, HeadwayProgress, HeadwayTopBar }

declare global {
  interface HTMLElementTagNameMap {
    'headway-progress': HeadwayProgress
    'headway-job-card': HeadwayJobCard
    'headway-top-bar': HeadwayTopBar
  }
}

// A page may load this file twice, as its own bundle and from the service: the first one stays.
const define = (name: string, element: CustomElementConstructor): void => {
  if (!customElements.get(name)) customElements.define(name, element)
}

define('headway-progress', HeadwayProgress)
define('headway-job-card', HeadwayJobCard)
define('headway-top-bar', HeadwayTopBar)
