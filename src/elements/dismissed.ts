import type { LiveJob } from '../contract/live-job.ts'
import { LONGEST_JUST_FINISHED_SECONDS } from '../contract/just-finished.ts'

const KEY = 'headway:top-bar:dismissed'
/** After this time a finished job is not shown in any case. It is doubled because the clock of this machine may differ. */
const KEPT_MS = 2_000 * LONGEST_JUST_FINISHED_SECONDS

const attemptOf = ({ id, attempt }: LiveJob): string => `${id} ${attempt}`

const isEntry = (entry: unknown): entry is [attempt: string, atMs: number] =>
  Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'

/**
 * Finished jobs that the user has dismissed, each in one attempt. All bars of an origin leave them out, also after a reload. If
 * storage is full or forbidden, only this page remembers them.
 */
export class Dismissed {
  readonly #here = new Map<string, number>()
  #text: string | null = null

  has(job: LiveJob): boolean {
    this.#read()
    return this.#here.has(attemptOf(job))
  }

  add(job: LiveJob): void {
    this.#read()
    for (const [attempt, atMs] of this.#here) if (Date.now() - atMs > KEPT_MS) this.#here.delete(attempt)
    this.#here.set(attemptOf(job), Date.now())
    try {
      localStorage.setItem(KEY, JSON.stringify([...this.#here]))
    } catch {
      // Storage is full or forbidden: only this page remembers.
    }
  }

  /**
   * Reads what other bars have stored. It is parsed only when it has changed, because this is called for each job whenever a
   * bar is drawn.
   */
  #read(): void {
    try {
      const text = localStorage.getItem(KEY)
      if (text === this.#text) return
      this.#text = text
      const entries: unknown = JSON.parse(text ?? '[]')
      if (!Array.isArray(entries)) return
      for (const entry of entries as unknown[]) if (isEntry(entry)) this.#here.set(...entry)
    } catch {
      // The stored text was written by another program.
    }
  }
}
