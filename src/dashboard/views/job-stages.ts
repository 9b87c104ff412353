import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../contract/job.ts'
import { percent, rough, text } from '../words.ts'

/** With more stages, a row of them would be too narrow for their names. */
const MANY = 10

type Place = 'past' | 'now' | 'future'

/** How long the stages took, in seconds by name: those of this job, and those of the last run of its type. */
export interface StageTimes {
  own: ReadonlyMap<string, number>
  earlier: ReadonlyMap<string, number>
}

const timesOf = (name: string, { own, earlier }: StageTimes): TemplateResult | typeof nothing => {
  const [mine, former] = [own.get(name), earlier.get(name)]
  const parts = [
    ...(mine === undefined ? [] : [rough(mine)]),
    ...(former === undefined ? [] : [text('stage.earlier', { time: rough(former) })]),
  ]
  return parts.length === 0 ? nothing : html`<span class="muted stage-time">${parts.join(' · ')}</span>`
}

/** The declared stages, each as wide as its weight, with how long they took. */
export const stages = (job: JobWithWorkers, times: StageTimes): TemplateResult | typeof nothing => {
  if (job.stages === null) return nothing
  const current =
    job.status === 'completed' ? job.stages.length : job.stages.findIndex(({ name }) => name === job.stage)
  const before = job.stages.slice(0, Math.max(0, current)).reduce((sum, { weight }) => sum + weight, 0)
  const weight = job.stages[current]?.weight ?? 0
  const fraction = weight === 0 ? 0 : Math.min(1, Math.max(0, (job.progressPercent / 100 - before) / weight))
  const placeOf = (index: number): Place => (index < current ? 'past' : index === current ? 'now' : 'future')
  return html`<section class="card" aria-labelledby="stages-title">
    <h2 id="stages-title">${text('stages.title')}</h2>
    <ol class="stages" ?data-many=${job.stages.length > MANY}>
      ${job.stages.map((stage, index) => {
        const place = placeOf(index)
        const filled = place === 'past' ? 1 : place === 'now' ? fraction : 0
        return html`<li
          data-place=${place}
          aria-current=${place === 'now' ? 'step' : nothing}
          .style=${`flex-grow: ${Math.max(0.001, stage.weight)}`}
        >
          <span class="rail"><span class="fill" .style=${`transform: translateX(${100 * (filled - 1)}%)`}></span></span>
          <span class="stage-name" dir="auto">${stage.name}</span>
          <span class="muted"> ${place === 'now' ? percent(Math.floor(100 * fraction)) : text(`stage.${place}`)} </span>
          ${timesOf(stage.name, times)}
        </li>`
      })}
    </ol>
  </section>`
}
