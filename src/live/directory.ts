import { createHash } from 'node:crypto'
import { HeadwayError } from '../contract/errors.ts'
import type { FeedFilter, LiveDocument } from './change.ts'
import { Feed, type Membership } from './feed.ts'
import type { StreamFormat } from './frames.ts'

/** Each feed costs a filter to test per change: one tenant must not make that dear for all. */
const MAX_FEEDS_PER_TENANT = 1_000

/** Jobs that the feeds of one tenant may hold together, each in as many feeds as it is. One costs some 150 bytes, and its last frame. */
const MAX_JOBS_PER_TENANT = 200_000

const refuse = (message: string) => new HeadwayError('too_many_streams', message, { retryAfterSeconds: 10 })

interface Tenant {
  feeds: Map<string, Feed>
  /** Feeds that name no jobs, and may want any job of the tenant. */
  open: Set<Feed>
  /** Feeds that name jobs, by the jobs they name. */
  byJob: Map<string, Naming>
  known: Map<string, KnownJob>
}

/** Who names a job: as a rule one feed. The id is that of the first of them, so that its text is kept once. */
interface Naming {
  jobId: string
  feeds: Feed | Set<Feed>
}

/** What is remembered of a job while its tenant has feeds, so that a hint about it need not be read to know who wants it. */
interface KnownJob {
  membership: Membership
  /** The newest revision that was offered to every feed of the tenant. */
  offered: number
}

/** Which feeds there are, and which of them want to hear of a job. */
export class Directory {
  readonly #progressIntervalMs: number
  readonly #tenants = new Map<string, Tenant>()

  constructor(progressIntervalMs: number) {
    this.#progressIntervalMs = progressIntervalMs
  }

  get isEmpty(): boolean {
    return this.#tenants.size === 0
  }

  /** How many feeds there are. */
  get size(): number {
    let size = 0
    for (const { feeds } of this.#tenants.values()) size += feeds.size
    return size
  }

  /** The tenants that have feeds. */
  get tenantIds(): string[] {
    return [...this.#tenants.keys()]
  }

  *feeds(): Iterable<Feed> {
    for (const { feeds } of this.#tenants.values()) yield* feeds.values()
  }

  /** The feed of a filter, made if there is none. Raises `too_many_streams`. */
  feedFor(filter: FeedFilter, format: StreamFormat): Feed {
    const { tenantId } = filter
    const tenant: Tenant = this.#tenants.get(tenantId) ?? {
      feeds: new Map(),
      open: new Set(),
      byJob: new Map(),
      known: new Map(),
    }
    const key = keyOf(filter, format)
    const existing = tenant.feeds.get(key)
    if (existing) return existing
    if (tenant.feeds.size >= MAX_FEEDS_PER_TENANT) {
      throw refuse('Too many different streams are open; use fewer different filters')
    }
    let jobs = filter.jobIds.length
    for (const { size } of tenant.feeds.values()) jobs += size
    if (jobs > MAX_JOBS_PER_TENANT) throw refuse('The open streams hold too many jobs; use fewer different filters')

    const jobIds = filter.jobIds.map(jobId => tenant.byJob.get(jobId)?.jobId ?? jobId)
    const feed = new Feed({ ...filter, jobIds }, format, this.#progressIntervalMs)
    this.#tenants.set(tenantId, tenant)
    tenant.feeds.set(key, feed)
    if (jobIds.length === 0) tenant.open.add(feed)
    for (const jobId of jobIds) {
      const naming = tenant.byJob.get(jobId)
      if (!naming) tenant.byJob.set(jobId, { jobId, feeds: feed })
      else if (naming.feeds instanceof Set) naming.feeds.add(feed)
      else naming.feeds = new Set([naming.feeds, feed])
    }
    return feed
  }

  /** Forgets a feed without subscribers, and with the last one all that was known of its tenant. */
  remove(feed: Feed): void {
    const { tenantId, jobIds } = feed.filter
    const tenant = this.#tenants.get(tenantId)
    if (!tenant) return
    tenant.feeds.delete(keyOf(feed.filter, feed.format))
    tenant.open.delete(feed)
    for (const jobId of jobIds) {
      const naming = tenant.byJob.get(jobId)
      if (naming?.feeds instanceof Set) naming.feeds.delete(feed)
      if (naming?.feeds === feed || (naming?.feeds instanceof Set && naming.feeds.size === 0))
        tenant.byJob.delete(jobId)
    }
    if (tenant.feeds.size === 0) this.#tenants.delete(tenantId)
  }

  /** The feeds that want a job, and those that may, as long as it is unknown. */
  *interested(tenantId: string, jobId: string): Iterable<Feed> {
    const tenant = this.#tenants.get(tenantId)
    if (!tenant) return
    const membership = tenant.known.get(jobId)?.membership
    const named = tenant.byJob.get(jobId)?.feeds ?? []
    for (const feed of named instanceof Feed ? [named] : named) if (!membership || feed.wants(membership)) yield feed
    for (const feed of tenant.open) if (!membership || feed.wants(membership)) yield feed
  }

  /** The newest revision that was offered to all feeds of the tenant; -1 if none was. */
  offered(tenantId: string, jobId: string): number {
    return this.#tenants.get(tenantId)?.known.get(jobId)?.offered ?? -1
  }

  /** Remembers who a job belongs to, and `offered` if all feeds have been given this document. */
  learn({ id, tenantId, organizationId, jobType, parentJobId }: LiveDocument, offered = -1): void {
    const tenant = this.#tenants.get(tenantId)
    if (!tenant) return
    const known = tenant.known.get(id)
    if (known) known.offered = Math.max(known.offered, offered)
    else tenant.known.set(id, { membership: { id, tenantId, organizationId, jobType, parentJobId }, offered })
  }

  /** Forgets the jobs that are neither active nor finished a short time ago. */
  forgetAllBut(jobIds: ReadonlyMap<string, unknown>): void {
    for (const { known } of this.#tenants.values()) {
      for (const jobId of known.keys()) if (!jobIds.has(jobId)) known.delete(jobId)
    }
  }
}

const keyOf = (filter: FeedFilter, format: StreamFormat): string =>
  JSON.stringify([
    format,
    filter.organizationId,
    filter.allOrganizations,
    filter.scopeJobId,
    filter.jobIds.length > 0 && digestOf(filter.jobIds),
    filter.jobType,
    filter.parentJobId,
    filter.topLevel,
  ])

/** Of the jobs that a filter names: their ids as a key would be kilobytes. */
const digestOf = (jobIds: readonly string[]): string =>
  createHash('sha256').update(jobIds.toSorted().join()).digest('base64')
