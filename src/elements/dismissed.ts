import type { LiveJob } from '../contract/live-job.ts'
import { LONGEST_JUST_FINISHED_SECONDS } from '../contract/just-finished.ts'

const KEY = 'headway:top-bar:dismissed'
/** After that a finished job is shown no more in any case; twice as long, since the clock of this machine may differ. */
const KEPT_MS = 2_000 * LONGEST_JUST_FINISHED_SECONDS

const attemptOf = ({ id, attempt }: LiveJob): string => `${id} ${attempt}`

const isEntry = (entry: unknown): entry is [attempt: string, atMs: number] =>
  Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'

/**
 * Finished jobs that somebody has taken out of sight, each in one attempt. All bars of an origin leave them out, also after a
 * reload. Where storage is full or forbidden, this page alone remembers.
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
      // It is forgotten with the page.
    }
  }

  /** Takes what other bars have added. Parsed only where it has changed: this is asked for each job whenever a bar is drawn. */
  #read(): void {
    try {
      const text = localStorage.getItem(KEY)
      if (text === this.#text) return
      this.#text = text
      const entries: unknown = JSON.parse(text ?? '[]')
      if (!Array.isArray(entries)) return
      for (const entry of entries as unknown[]) if (isEntry(entry)) this.#here.set(...entry)
    } catch {
      // What is there is none of this.
    }
  }
}
