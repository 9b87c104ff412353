import { html } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobDocument } from '../../contract/job.ts'
import { isSilent } from '../../contract/liveness.ts'
import { secondsLeft } from '../../browser-client/condition.ts'
import type { JobLike } from '../../browser-client/condition.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { clock, fullTime, isolated, moment, rough, text } from '../words.ts'

/** A time, as `shown`. Its tooltip has the full date and the time zone. */
export const timeTag = (iso: string, shown: string): TemplateResult =>
  html`<time datetime=${iso} title=${fullTime(Date.parse(iso))}>${shown}</time>`

/** How long ago a time was: `34 min ago`. */
export const agoText = (iso: string | null, nowMs: number): string => {
  if (iso === null) return ''
  const seconds = Math.floor((nowMs - Date.parse(iso)) / 1000)
  return seconds < 1 ? text('job.justNow') : text('job.ago', { time: rough(seconds) })
}

/** The same, with the time itself as its tooltip. */
export const agoTag = (iso: string | null, nowMs: number): TemplateResult | '' =>
  iso === null ? '' : timeTag(iso, agoText(iso, nowMs))

/** When something was or will be: the time, and the day if it is not today. */
export const momentTag = (iso: string | null, nowMs: number): TemplateResult | '' =>
  iso === null ? '' : timeTag(iso, moment(Date.parse(iso), nowMs))

/** When the job will probably be done, in milliseconds; null if that is not known, or the estimated time is over. */
export const likelyEndMs = (job: JobLike & Pick<LiveJob, 'etaSeconds' | 'updatedAt'>, nowMs: number): number | null => {
  const seconds = secondsLeft(job, nowMs)
  if (seconds === null || seconds === 0 || job.etaSeconds === null) return null
  // By the estimate itself, so that the time does not waver while the seconds count down.
  return Date.parse(job.updatedAt) + 1000 * job.etaSeconds
}

/** The time of day at which the job will probably be done, with the day if it is not today: `05:10`. */
export const endTag = (
  job: JobLike & Pick<LiveJob, 'etaSeconds' | 'updatedAt'>,
  nowMs: number,
): TemplateResult | '' => {
  const ms = likelyEndMs(job, nowMs)
  return ms === null ? '' : timeTag(new Date(ms).toISOString(), clock(ms, nowMs))
}

const ending = (seconds: number): string =>
  seconds < 1 ? text('silence.endsSoon') : text('silence.ends', { time: rough(seconds, Math.ceil) })

type Awaited = Pick<
  JobDocument,
  'status' | 'liveness' | 'children' | 'heartbeatAt' | 'updatedAt' | 'heartbeatTimeoutSeconds' | 'pendingTimeoutSeconds'
>

/**
 * `silent for 3 min, will be ended in 21 h`, of a job from which nobody is heard; '' of any other. The service ends a job that
 * stays silent for longer than its timeout, and one that is not started in time. It does not end a batch for silence.
 */
export const silenceText = (job: Awaited, nowMs: number): string => {
  const { status, children, heartbeatAt, updatedAt, heartbeatTimeoutSeconds, pendingTimeoutSeconds } = job
  if (children !== null) return ''
  const passed = (iso: string) => Math.max(0, nowMs - Date.parse(iso)) / 1000
  if (status === 'pending') {
    return pendingTimeoutSeconds === null ? '' : ending(pendingTimeoutSeconds - passed(updatedAt))
  }
  if (!isSilent(job) || heartbeatAt === null) return ''
  const silent = text('silence.for', { time: rough(passed(heartbeatAt)) })
  return heartbeatTimeoutSeconds === 0 ? silent : `${silent}, ${ending(heartbeatTimeoutSeconds - passed(heartbeatAt))}`
}

/** For how long a job has been running, and who has begun it; '' for what is not known. */
export const ageAndOwner = (
  { status, startedAt, startedByUserId }: Pick<LiveJob, 'status' | 'startedAt' | 'startedByUserId'>,
  nowMs: number,
): [age: string, owner: string] => [
  status === 'running' && startedAt !== null
    ? text('job.for', { time: rough(Math.max(0, nowMs - Date.parse(startedAt)) / 1000) })
    : '',
  startedByUserId === null ? '' : text('history.by', { actor: isolated(startedByUserId) }),
]
