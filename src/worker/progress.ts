import type { Unit } from '../contract/units.ts'
import type { Details } from './details.ts'
import { asJsonObject, fit, fitShown } from './texts.ts'

/** How far the work is. What is left out stays as it was; `null` clears it. */
export interface Report {
  /** Absolute. */
  processedCount?: number
  totalCount?: number | null
  /** Counts only while no total is known. */
  progressPercent?: number | null
  unit?: Unit
  /** The work's own estimate, which wins over that of the service. */
  etaSeconds?: number | null
  throughputPerSecond?: number | null
  /** One of the job's `stages`, where it has any. Entering one begins its count at 0. */
  stage?: string | null
  /** One line for a person, at most 500 characters. */
  message?: string | null
  /** Kept on this worker's row, at most 4 KB as JSON. */
  payload?: Details | null
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0

/** Leaves out what the service would refuse: a wrong number is no reason to lose the rest of a report. */
const tidy = (report: Report): Report => {
  const tidied: Record<string, unknown> = {}
  // Without types, anything may come; nothing of it must be thrown back at the work.
  for (const [field, given] of Object.entries({ ...report } as Record<string, unknown>)) {
    const value = typeof given === 'bigint' ? Number(given) : given
    if (typeof value === 'object' && value !== null && field !== 'payload') continue
    if (value === undefined || (typeof value === 'number' && !Number.isFinite(value))) continue
    if ((field === 'processedCount' || field === 'totalCount') && value !== null && !isCount(value)) continue
    tidied[field] = value
  }
  if (typeof tidied['message'] === 'string') tidied['message'] = fit(tidied['message'], 'message')
  if (typeof tidied['stage'] === 'string') tidied['stage'] = fitShown(tidied['stage'], 'stage')
  if (tidied['stage'] === '') delete tidied['stage']
  if (typeof tidied['unit'] === 'string') tidied['unit'] = fitShown(tidied['unit'], 'unit') || 'unknown'
  if (tidied['payload'] != null) tidied['payload'] = asJsonObject(tidied['payload'])
  if (typeof tidied['progressPercent'] === 'number') {
    tidied['progressPercent'] = Math.max(0, Math.min(Math.floor(tidied['progressPercent']), 100))
  }
  return tidied
}

/**
 * How far one worker is, and what of it the service does not know yet. It holds the newest state and no queue: while the
 * service is away, reports cost nothing.
 */
export class Progress {
  /** Changed since the service last confirmed a report. */
  isDirty = false
  /** null: nothing has been counted. */
  #processed: number | null = null
  #total: number | null = null
  /** Counts are those of the current stage. Known late of a job that somebody else has made. */
  hasStages: boolean
  #stage: string | null = null
  /** What is to be sent beside the count. */
  #fields: Report = {}
  readonly #onDirty: () => void

  constructor(
    { totalCount = null, hasStages }: { totalCount?: number | null | undefined; hasStages: boolean },
    onDirty: () => void,
  ) {
    this.#total = totalCount
    this.hasStages = hasStages
    this.#onDirty = onDirty
  }

  /** The items done, as far as they are counted. */
  get processed(): number {
    return this.#processed ?? 0
  }

  advance(count: number): void {
    this.#processed = (this.#processed ?? 0) + count
    this.#touch()
  }

  #touch(): void {
    if (this.isDirty) return
    this.isDirty = true
    this.#onDirty()
  }

  report(report: Report): void {
    const { processedCount, ...fields } = tidy(report)
    if (this.hasStages && typeof fields.stage === 'string' && fields.stage !== this.#stage) {
      this.#stage = fields.stage
      this.#processed = 0
      this.#total = null
      // A total that waits to be sent is that of the stage before.
      delete this.#fields.totalCount
    }
    if (processedCount !== undefined) this.#processed = processedCount
    if (fields.totalCount !== undefined) this.#total = fields.totalCount
    Object.assign(this.#fields, fields)
    this.#touch()
  }

  /** The body of a report of this moment. Call `restore` when the service has not got it, and `drop` when it refused it. */
  take(): { body: Report; restore: () => void; drop: () => boolean } {
    const fields = this.#fields
    const count = this.#count()
    this.#fields = {}
    this.isDirty = false
    // The service refuses a report whose count is beyond its total, although it keeps work beyond a total that it knows.
    const isBeyond = count !== null && fields.totalCount != null && count > fields.totalCount
    const { totalCount, ...others } = fields
    const body: Report = {
      ...others,
      ...(count !== null && { processedCount: count }),
      ...(totalCount !== undefined && !isBeyond && { totalCount }),
    }
    return {
      body,
      restore: () => {
        // A total belongs to its stage.
        const isPast = this.hasStages && this.#fields.stage !== undefined && this.#fields.stage !== fields.stage
        this.#fields = { ...(isPast ? others : fields), ...this.#fields }
        this.isDirty = true
      },
      drop: () => {
        const hadMore = Object.keys(body).length > 0
        // Its fields are gone with it. If the count alone is refused as well, only a sign of life is left.
        if (Object.keys(others).length === 0 && totalCount === undefined) this.#processed = null
        this.isDirty = true
        return hadMore
      },
    }
  }

  #count(): number | null {
    if (this.#processed === null) return null
    const count = Math.min(Math.max(0, Math.floor(this.#processed)), Number.MAX_SAFE_INTEGER)
    return Number.isNaN(count) ? null : count
  }

  /** For people: `41 of 1200`, or `41` where no total is known. */
  describe(): string {
    return this.#total === null ? String(this.processed) : `${this.processed} of ${this.#total}`
  }
}
