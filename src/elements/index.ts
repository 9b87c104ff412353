import { HeadwayJobCard as JobCard } from './job-card.ts'
import { HeadwayProgress as Progress } from './progress-element.ts'
import { HeadwayTopBar as TopBar } from './top-bar.ts'
import type { HeadwayJobCardElement, HeadwayProgressElement, HeadwayTopBarElement } from './types.ts'

export { createClient, HeadwayProblem } from '../browser-client/index.ts'
export * from '../browser-client/deprecated.ts'
export type * from './types.ts'
export type * from '../browser-client/types.ts'
export type { ProgressEndDetail, ProgressErrorDetail, ProgressUpdateDetail } from './window-events.ts'

// The types leave out what Lit adds, because the package does not include Lit's types.
export const HeadwayProgress: new () => HeadwayProgressElement = Progress
export const HeadwayJobCard: new () => HeadwayJobCardElement = JobCard
export const HeadwayTopBar: new () => HeadwayTopBarElement = TopBar

// A page may load this file twice, in its own bundle and from the service: the first definition stays. A server that renders
// pages has no custom elements.
const define = (name: string, element: CustomElementConstructor): void => {
  const registry = globalThis.customElements as CustomElementRegistry | undefined
  if (registry && !registry.get(name)) registry.define(name, element)
}

define('headway-progress', Progress)
define('headway-job-card', JobCard)
define('headway-top-bar', TopBar)
