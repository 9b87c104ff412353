import type { Unit } from '../contract/units.ts'
import type { Details } from './details.ts'
import { asJsonObject, fit, fitShown } from './texts.ts'

/** How far the work is. A field that is left out keeps its value; `null` clears it. */
export interface Report {
  /** Absolute. */
  processedCount?: number
  totalCount?: number | null
  /** Only counts while no total is known. */
  progressPercent?: number | null
  unit?: Unit
  /** The work's own estimate; it is used instead of the service's. */
  etaSeconds?: number | null
  throughputPerSecond?: number | null
  /** One of the job's `stages`, if it has any. A new stage begins with a count of 0. */
  stage?: string | null
  /** One line for people, at most 500 characters. */
  message?: string | null
  /** Stored with this worker, at most 4 KB as JSON. */
  payload?: Details | null
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0

/** Drops values that the service would refuse, so that one wrong number does not lose the rest of the report. */
const tidy = (report: Report): Report => {
  const tidied: Record<string, unknown> = {}
  // Programs without types may pass any value, and none may raise an error in the work.
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
 * How far one worker is, and what the service does not know yet. It holds the newest state and no queue, so reports cost no
 * memory while the service is away.
 */
export class Progress {
  /** The state has changed since the service last confirmed a report. */
  isDirty = false
  /** null: nothing has been counted. */
  #processed: number | null = null
  #total: number | null = null
  /** The counts are those of the current stage. For a job that was created elsewhere, this is only known once it is open. */
  hasStages: boolean
  #stage: string | null = null
  /** Fields that must be sent besides the count. */
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
      // A total that has not been sent belongs to the earlier stage.
      delete this.#fields.totalCount
    }
    if (processedCount !== undefined) this.#processed = processedCount
    if (fields.totalCount !== undefined) this.#total = fields.totalCount
    Object.assign(this.#fields, fields)
    this.#touch()
  }

  /**
   * The body of a report with the present state. Call `restore` when the service did not receive it, and `drop` when it refused
   * it.
   */
  take(): { body: Report; restore: () => void; drop: () => boolean } {
    const fields = this.#fields
    const count = this.#count()
    this.#fields = {}
    this.isDirty = false
    // The service refuses a report whose count is larger than its total, but accepts counts that exceed a total it knows.
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
        // The fields of the refused report are dropped. If the count alone is refused as well, only heartbeats without a count
        // are left.
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

  /** For people: `41 of 1200`, or `41` if no total is known. */
  describe(): string {
    return this.#total === null ? String(this.processed) : `${this.processed} of ${this.#total}`
  }
}
