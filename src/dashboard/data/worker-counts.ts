import { headway, redraw } from '../feed.ts'

/** Rows that are scrolled past are not asked for. */
const SETTLE_MS = 300
const FRESH_MS = 30_000
const AT_ONCE = 3
/** A page may be open for weeks. */
const MOST_KNOWN = 5_000

/**
 * How many workers a job has had in its attempt. The stream does not say; so the jobs that are in view are asked, a few at a
 * time, and again after a while.
 */
export class WorkerCounts {
  readonly #known = new Map<string, { count: number | null; attempt: number; atMs: number }>()
  #inView: readonly { id: string; attempt: number }[] = []
  #timer: ReturnType<typeof setTimeout> | undefined
  #asking = 0

  get(jobId: string): number | null {
    return this.#known.get(jobId)?.count ?? null
  }

  /** The running jobs that can be seen. */
  look(jobs: readonly { id: string; attempt: number }[]): void {
    this.#inView = jobs
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#ask()
    }, SETTLE_MS)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#inView = []
  }

  #ask(): void {
    const now = Date.now()
    if (this.#known.size > MOST_KNOWN) this.#known.clear()
    for (const { id, attempt } of this.#inView) {
      if (this.#asking >= AT_ONCE) return
      const known = this.#known.get(id)
      if (known?.attempt === attempt && now - known.atMs < FRESH_MS) continue
      this.#known.set(id, { count: known?.count ?? null, attempt, atMs: now })
      void this.#read(id, attempt)
    }
  }

  async #read(id: string, attempt: number): Promise<void> {
    this.#asking += 1
    try {
      const { workers } = await headway.api.job(id)
      this.#known.set(id, { count: workers.length, attempt, atMs: Date.now() })
      redraw()
    } catch {
      // Asked again once what is known has become old: a column that stays empty is no reason to trouble anybody.
    } finally {
      this.#asking -= 1
      this.#ask()
    }
  }
}
