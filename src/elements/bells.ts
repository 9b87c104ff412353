import { askPermission, showEnd, tellOnce } from '../browser-client/notifications.ts'
import { storedIds } from '../browser-client/stored-text.ts'
import type { LiveJob } from '../contract/live-job.ts'

const KEY = 'headway:bells'
/** So many are kept: a job that no card of the origin shows any more stays until then. */
const MAX_BELLS = 100

/**
 * The jobs of which the visitor wants to be told how they ended, for all cards of an origin. They are kept over a reload: the
 * next page with a card of the job tells its end.
 */
class Bells {
  readonly #stored = storedIds(() => localStorage, KEY, MAX_BELLS)
  readonly #listeners = new Set<() => void>()

  has(id: string): boolean {
    return this.#stored.read().includes(id)
  }

  /** Resolves with whether the browser may say how the job ends. Call it when the visitor has pressed a button. */
  async add(id: string): Promise<boolean> {
    this.#keep([...this.#stored.read().filter(other => other !== id), id])
    return askPermission()
  }

  remove(id: string): void {
    this.#keep(this.#stored.read().filter(other => other !== id))
  }

  /** Tells the end of a job in one tab of the browser, if the visitor wants to be told, and once. */
  tellEnd(job: LiveJob, { title, body }: { title: string; body: string }): void {
    if (!this.has(job.id)) return
    void tellOnce(`${KEY} ${job.id} ${job.attempt}`, () => {
      if (!this.has(job.id)) return false
      this.remove(job.id)
      showEnd(job, { title, body, onClick: () => undefined })
      return true
    })
  }

  /** Calls `listener` when a bell was set or removed, here or in another tab. Answers a function that stops it. */
  subscribe(listener: () => void): () => void {
    if (this.#listeners.size === 0) addEventListener('storage', this.#look)
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) removeEventListener('storage', this.#look)
    }
  }

  readonly #look = ({ key }: { key: string | null }): void => {
    if (key === KEY || key === null) for (const listener of this.#listeners) listener()
  }

  #keep(ids: readonly string[]): void {
    this.#stored.write(ids)
    this.#look({ key: KEY })
  }
}

export const bells = new Bells()
