import type { SQL } from 'drizzle-orm'
import { and, eq, gte, inArray, isNotNull, isNull, lt, or, sql } from '../database/drizzle.ts'
import { FINISHED_STATUSES, JOB_STATUSES, type FinishedStatus, type JobStatus } from '../contract/states.ts'
import { functions } from '../database/functions.ts'
import { OUTCOME } from '../database/job-schema.ts'
import { progressJobs } from '../database/schema.ts'
import type { Scope } from './identity.ts'
import { inScope } from './in-scope.ts'
import type { ListJobs } from './use-cases.ts'

/**
 * The conditions of a list. It is the union of its sources, which have no job in common. Most sources are in an index in the order of
 * the list, so that a page reads few rows more than it shows (decision 33 says which are not).
 */
export interface ListSources {
  /**
   * Pending and running jobs, of which there are few beside the finished ones; null: the list has none. In a list by `createdAt`
   * it may have the finished ones as well.
   */
  active: SQL | null
  finished: SQL[]
  /** The text that the names hold, which the conditions leave out, because finished jobs are searched by an index of names. */
  search: string | undefined
}

const FINISHED: ReadonlySet<JobStatus> = new Set(FINISHED_STATUSES)

/** What holds for all jobs of the list, whether they have finished or not. */
const commonFilter = (scope: Scope, query: ListJobs): SQL | undefined =>
  and(
    inScope(scope),
    query.jobType === undefined ? undefined : eq(progressJobs.jobType, query.jobType),
    query.parentJobId === undefined ? undefined : eq(progressJobs.parentJobId, query.parentJobId),
    query.organizationId === undefined ? undefined : eq(progressJobs.organizationId, query.organizationId),
    query.startedByUserId === undefined ? undefined : eq(progressJobs.startedByUserId, query.startedByUserId),
    query.unusual === undefined ? undefined : sql`${functions}.is_unusual(progress_jobs) = ${query.unusual}`,
  )

const placeFilter = (topLevel: boolean | undefined): SQL | undefined =>
  topLevel === undefined ? undefined : topLevel ? isNull(progressJobs.parentJobId) : isNotNull(progressJobs.parentJobId)

/** The statuses that the list may have; all of them if it is not filtered by status and shows finished jobs as well. */
const statusesOf = (query: ListJobs): readonly JobStatus[] => {
  const { completedSince, completedBefore, error } = query
  const hasOnlyFinished = completedSince !== undefined || completedBefore !== undefined || error !== undefined
  const showsAll = query.includeCompleted || query.parentJobId !== undefined || hasOnlyFinished
  const named = query.status ?? (showsAll ? JOB_STATUSES : ['pending', 'running'])
  return JOB_STATUSES.filter(
    status =>
      named.includes(status) &&
      (!hasOnlyFinished || FINISHED.has(status)) &&
      (error === undefined || status === 'failed') &&
      (query.liveness === undefined || status === 'running'),
  )
}

const activeFilter = (common: SQL | undefined, statuses: readonly JobStatus[], query: ListJobs): SQL | null => {
  if (statuses.length === 0) return null
  return (
    and(
      common,
      isNull(progressJobs.finishedAt),
      statuses.length === 2 ? undefined : inArray(progressJobs.status, [...statuses]),
      query.liveness && eq(progressJobs.liveness, query.liveness),
      placeFilter(query.topLevel),
      query.deadline && inArray(sql`${functions}.shown_deadline(progress_jobs)`, [...query.deadline]),
    ) ?? null
  )
}

/** Of a finished job, `late_seconds` tells what `shown_deadline` tells, and an index has the late ones. */
const lateFilter = (deadline: NonNullable<ListJobs['deadline']>): SQL | undefined =>
  or(
    deadline.includes('overdue') ? sql`late_seconds > 0` : undefined,
    deadline.includes('on_time') ? sql`late_seconds <= 0` : undefined,
  ) ?? sql`false`

/**
 * The outcomes, as the conditions of the sources that have them. Failed and cancelled jobs have an index each, because there may be
 * few of them. Completed jobs are found among all.
 */
const outcomeFilters = (outcomes: readonly FinishedStatus[]): (SQL | undefined)[] => {
  if (outcomes.length === FINISHED_STATUSES.length) return [undefined]
  if (outcomes.includes('completed')) return [or(...outcomes.map(outcome => OUTCOME[outcome]))]
  return outcomes.map(outcome => OUTCOME[outcome])
}

const finishedFilters = (
  common: SQL | undefined,
  outcomes: readonly FinishedStatus[],
  query: ListJobs,
): (SQL | undefined)[] => {
  const finished = and(
    common,
    isNotNull(progressJobs.finishedAt),
    placeFilter(query.topLevel),
    query.completedSince && gte(progressJobs.finishedAt, query.completedSince),
    query.completedBefore && lt(progressJobs.finishedAt, query.completedBefore),
    query.deadline && lateFilter(query.deadline),
  )
  return outcomeFilters(outcomes).map(outcome => and(finished, outcome))
}

/**
 * One source of jobs with any status, in the order of `createdAt`; null: a filter has an index of its own, which has either finished
 * jobs or active ones.
 */
const anyStatus = (
  scope: Scope,
  common: SQL | undefined,
  statuses: readonly JobStatus[],
  query: ListJobs,
): SQL | null => {
  const { sort, deadline, jobType, organizationId, topLevel, search } = query
  const hasOwnIndex =
    jobType !== undefined ||
    organizationId !== undefined ||
    deadline !== undefined ||
    search !== undefined ||
    !scope.allOrganizations
  if (hasOwnIndex || sort.key !== 'createdAt' || statuses.length < JOB_STATUSES.length) return null
  return and(common, placeFilter(topLevel)) ?? null
}

/** Which jobs a list has. */
export const sourcesOf = (scope: Scope, query: ListJobs): ListSources => {
  const common = commonFilter(scope, query)
  const statuses = statusesOf(query)
  const any = anyStatus(scope, common, statuses, query)
  if (any !== null) return { active: any, finished: [], search: undefined }
  const isOutcome = (status: JobStatus): status is FinishedStatus => FINISHED.has(status)
  return {
    active: activeFilter(
      common,
      statuses.filter(status => !isOutcome(status)),
      query,
    ),
    finished: finishedFilters(common, statuses.filter(isOutcome), query).filter(filter => filter !== undefined),
    search: query.search,
  }
}

const isSame = (value: readonly string[] | undefined, ...others: string[]): boolean =>
  value?.length === others.length && others.every(other => value.includes(other))

/** The filter that leaves the fewest jobs and that an index serves by itself; null: there is none beside status and place. */
const leadingFilter = (scope: Scope, query: ListJobs): Partial<ListJobs> | null => {
  const { parentJobId, startedByUserId, organizationId, jobType, deadline } = query
  if (parentJobId !== undefined) return { parentJobId }
  if (startedByUserId !== undefined) return { startedByUserId }
  if (organizationId !== undefined) return { organizationId }
  if (!scope.allOrganizations || scope.jobId !== null) return {}
  if (jobType !== undefined) return { jobType }
  return deadline !== undefined && isSame(deadline, 'overdue') ? { deadline } : null
}

/** All statuses of active jobs, of finished ones, or of both. */
const halvesOf = (statuses: readonly JobStatus[]): readonly JobStatus[] =>
  JOB_STATUSES.filter(status => statuses.some(each => FINISHED.has(each) === FINISHED.has(status)))

/**
 * A list that has all jobs of `query`, and possibly others, but that an index has without reading the others. Its jobs are looked
 * at when those of `query` are counted, so that counting few among many stops early.
 */
export const widerThan = (scope: Scope, query: ListJobs): ListJobs => {
  const { sort, page, pageSize, topLevel, completedSince, completedBefore } = query
  const statuses = statusesOf(query)
  const lead = leadingFilter(scope, query)
  const outcomes = statuses.filter(status => FINISHED.has(status))
  const hasAll = outcomes.length === FINISHED_STATUSES.length
  const always = {
    ...{ sort, page, pageSize },
    ...(completedSince !== undefined && { completedSince }),
    ...(completedBefore !== undefined && { completedBefore }),
  }
  const halves = halvesOf(statuses)
  // Failed jobs of one type have an index.
  const hasIndex = lead?.jobType !== undefined && isSame(statuses, 'failed')
  if (lead !== null) return { ...always, ...lead, status: hasIndex ? statuses : halves }
  const hasOnlyActive = outcomes.length === 0
  return {
    ...always,
    // Completed jobs are most of all, and have no index of their own.
    status: outcomes.includes('completed') ? halves : statuses,
    ...(topLevel !== undefined && (hasAll || hasOnlyActive) && { topLevel }),
  }
}

const FILTERS = [
  'liveness',
  'deadline',
  'unusual',
  'jobType',
  'parentJobId',
  'topLevel',
  'organizationId',
  'startedByUserId',
  'search',
] as const

/**
 * The conditions of a list's jobs, for jobs of a wider one. An outcome that both have is left out: the index of the wider list has
 * no column that tells it.
 */
export const sourcesWithin = (scope: Scope, wider: ListJobs, query: ListJobs): ListSources => {
  const statuses = statusesOf(query)
  return sourcesOf(scope, isSame(statusesOf(wider), ...statuses) ? { ...query, status: halvesOf(statuses) } : query)
}

/** Whether two lists, one of which is wider than the other, have the same jobs by all of their filters. */
export const hasSameFilters = (one: ListJobs, other: ListJobs): boolean =>
  FILTERS.every(name => (one[name] === undefined) === (other[name] === undefined)) &&
  isSame(statusesOf(one), ...statusesOf(other))
