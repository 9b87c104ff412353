import { createHash } from 'node:crypto'
import { HeadwayError } from '../contract/errors.ts'
import type { FeedFilter, LiveDocument } from './change.ts'
import { Feed, type Membership } from './feed.ts'
import type { StreamFormat } from './frames.ts'

/** Each change tests the filters of all feeds, so one tenant's feeds must not make that slow for all. */
const MAX_FEEDS_PER_TENANT = 1_000

/** Jobs in all feeds of one tenant; a job counts once per feed. One takes some 150 bytes, and its last frame. */
const MAX_JOBS_PER_TENANT = 200_000

const refuse = (message: string) => new HeadwayError('too_many_streams', message, { retryAfterSeconds: 10 })

interface Tenant {
  feeds: Map<string, Feed>
  /** Feeds that name no jobs, and may want any job of the tenant. */
  open: Set<Feed>
  /** Feeds that name jobs, by the ids of those jobs. */
  byJob: Map<string, Naming>
  known: Map<string, KnownJob>
}

/** The feeds that name a job, usually one. The id is that of the first feed, so that its text is kept once. */
interface Naming {
  jobId: string
  feeds: Feed | Set<Feed>
}

/**
 * What is kept about a job while its tenant has feeds. With it, the feeds that want the job are known without reading the job.
 */
interface KnownJob {
  membership: Membership
  /** The newest revision that was offered to every feed of the tenant. */
  offered: number
}

/** The feeds that exist, and which of them want a job. */
export class Directory {
  readonly #progressIntervalMs: number
  readonly #tenants = new Map<string, Tenant>()

  constructor(progressIntervalMs: number) {
    this.#progressIntervalMs = progressIntervalMs
  }

  get isEmpty(): boolean {
    return this.#tenants.size === 0
  }

  /** Number of feeds. */
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

  /** The feed of a filter; it is created if there is none. Raises `too_many_streams`. */
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

  /** Removes a feed without subscribers, and with a tenant's last feed everything known about the tenant's jobs. */
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

  /** The feeds that want a job, and, while the job is unknown, those that may. */
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

  /** Remembers what a job belongs to, and `offered` if all feeds have been given this document. */
  learn({ id, tenantId, organizationId, jobType, parentJobId }: LiveDocument, offered = -1): void {
    const tenant = this.#tenants.get(tenantId)
    if (!tenant) return
    const known = tenant.known.get(id)
    if (known) known.offered = Math.max(known.offered, offered)
    else tenant.known.set(id, { membership: { id, tenantId, organizationId, jobType, parentJobId }, offered })
  }

  /** Forgets all jobs but these, which are active or have finished a short time ago. */
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

/** A digest of the jobs that a filter names: their ids would make a key of kilobytes. */
const digestOf = (jobIds: readonly string[]): string =>
  createHash('sha256').update(jobIds.toSorted().join()).digest('base64')
