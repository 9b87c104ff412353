import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../contract/job.ts'
import { ADDRESS } from '../router.ts'
import { duration, number, text } from '../words.ts'
import { copyButtons } from './copying.ts'
import { momentTag } from './times.ts'

/** The fields with which a job was created, and the times of its changes. */
export const detailsList = (job: JobWithWorkers, nowMs: number): TemplateResult => {
  const entry = (label: string, value: TemplateResult | string | null) =>
    value === null || value === ''
      ? nothing
      : html`<div>
          <dt>${label}</dt>
          <dd dir="auto">${value}</dd>
        </div>`
  const time = (iso: string | null) => momentTag(iso, nowMs)
  const timeout = job.heartbeatTimeoutSeconds
  return html`<section class="card">
    <h2>${text('details.title')}</h2>
    <dl class="pairs">
      <div>
        <dt>${text('details.id')}</dt>
        <dd class="id">
          <code>${job.id}</code>
          ${copyButtons(job)}
        </dd>
      </div>
      ${entry(text('details.type'), html`<a href=${ADDRESS.type(job.jobType)}>${job.jobType}</a>`)}
      ${entry(text('details.created'), time(job.createdAt))} ${entry(text('details.started'), time(job.startedAt))}
      ${entry(text('details.finished'), time(job.finishedAt))} ${entry(text('details.startedBy'), job.startedByUserId)}
      ${entry(text('details.cancelledBy'), job.cancelledByUserId)}
      ${entry(text('details.priority'), job.priority === 0 ? null : number(job.priority))}
      ${
        job.children === null
          ? entry(text('details.timeout'), timeout === 0 ? text('details.timeout.never') : duration(timeout))
          : nothing
      }
      ${entry(text('details.organization'), job.organizationId)}
    </dl>
  </section>`
}

/** For a job that the service has ended: the timeout that it exceeded; null for any other. */
export const allowedText = ({
  failureReason,
  heartbeatTimeoutSeconds,
  pendingTimeoutSeconds,
}: JobWithWorkers): string | null => {
  if (failureReason === 'stale') return text('reason.stale.for', { time: duration(heartbeatTimeoutSeconds) })
  if (failureReason !== 'never_started' || pendingTimeoutSeconds === null) return null
  return text('reason.never_started.for', { time: duration(pendingTimeoutSeconds) })
}
