import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { LiveJob } from '../../contract/live-job.ts'
import type { JobStatus } from '../../contract/states.ts'
import { isFinished } from '../../contract/states.ts'
import { isWatched, tellEnds, unwatch, watch } from '../notify.ts'
import { ADDRESS, navigate } from '../router.ts'
import { isolated, text } from '../words.ts'
import { announce } from './announcer.ts'
import { failureText } from './figures.ts'
import * as icons from './icons.ts'

interface Target {
  id: string
  name: string
  status: JobStatus
}

const toggle = async ({ id, name }: Target): Promise<void> => {
  if (isWatched(id)) {
    unwatch(id)
    announce(text('notify.off', { name: isolated(name) }))
    return
  }
  const said = (await watch(id)) ? 'notify.on' : 'notify.on.page'
  announce(text(said, { name: isolated(name) }))
}

/**
 * The button by which a visitor is told when the job ends, and which stops that: it says what a click does. A job that has ended
 * has none. `labelled`: with its words.
 */
export const bell = (job: Target, { labelled = false } = {}): TemplateResult | typeof nothing => {
  if (isFinished(job)) return nothing
  const isOn = isWatched(job.id)
  return html`<button
    type="button"
    class=${labelled ? 'button bell' : 'quiet bell'}
    ?data-on=${isOn}
    aria-label=${labelled ? nothing : text(isOn ? 'notify.stop.of' : 'notify.of', { name: job.name })}
    title=${text(isOn ? 'notify.stop.hint' : 'notify.hint')}
    @click=${() => void toggle(job)}
  >
    ${isOn ? icons.bellOn : icons.bell} ${labelled ? text(isOn ? 'notify.stop' : 'notify.me') : nothing}
  </button>`
}

/** How a job ended, in the visitor's language: for a notification, and for screen readers. */
const sayEnd = (job: LiveJob): string =>
  text(`notify.${job.status as 'completed' | 'failed' | 'cancelled'}`, { name: isolated(job.name) })

/** Tells of the end of watched jobs from now on. */
export const startBells = (): void =>
  tellEnds({
    words: job => ({ title: sayEnd(job), body: failureText(job) || job.jobType }),
    onEnd: job => announce(sayEnd(job)),
    onClick: ({ id }) => navigate(ADDRESS.job(id)),
  })
