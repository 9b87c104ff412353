import type { LiveJob } from '../contract/live-job.ts'

/** More would be a mistake of the page, and each job costs a request after a reload. */
const MAX_REMEMBERED = 100
const REMEMBERED_MS = 7 * 86_400_000

interface Waiter {
  resolve: (job: LiveJob) => void
  reject: (error: Error) => void
}

/** `shown`: an element has told the window of the job's end, but the page's own client has not. */
type Remembered = [id: string, sinceMs: number, shown?: 'shown']

const isRemembered = (entry: unknown): entry is Remembered =>
  Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'

const abortError = (message: string): Error => new DOMException(message, 'AbortError')

/**
 * The jobs whose end somebody waits for, in this page and, through the storage, in the next one. If the storage is full or
 * forbidden, the jobs are forgotten at a reload, and nothing else changes.
 */
export class Waiting {
  readonly #storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null
  readonly #isPage: boolean
  readonly #waiters = new Map<string, Waiter[]>()
  /** The attempt that is waited for, if an earlier attempt has ended. */
  readonly #attempts = new Map<string, number>()
  /** Jobs that have finished and of which no listener has been told. */
  readonly #untold = new Set<string>()
  #key: string | null = null

  /**
   * `isPage`: listeners of this client belong to the page. The listeners of an element's client do not count, because the page
   * may create its own client later, and that must hear of the same ends.
   */
  constructor(storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null, isPage = true) {
    this.#storage = storage
    this.#isPage = isPage
  }

  /** Sets the storage key for this user's jobs. Jobs that were waited for before the user was known are stored under it. */
  use(key: string): void {
    this.#key = key
    const remembered = this.#read().slice(-MAX_REMEMBERED)
    for (const id of this.#waiters.keys()) remembered.push([id, Date.now()])
    this.#write(remembered)
    this.reload()
  }

  /** The user has changed. The stored jobs stay for the earlier user, and the waiting calls in this page reject. */
  leave(): void {
    this.#key = null
    this.rejectAll('The page has changed its user.')
  }

  /** Reads what another tab has written, when the browser reports it. */
  reload(): void {
    const stored = new Set(this.#read().flatMap(([id, , shown]) => (shown && !this.#isPage ? [] : [id])))
    for (const id of stored) if (!this.#waiters.has(id)) this.#waiters.set(id, [])
    for (const [id, waiters] of this.#waiters) {
      if (waiters.length > 0 || stored.has(id)) continue
      this.#forgetHere(id)
    }
  }

  isKey(key: string | null): boolean {
    return key !== null && key === this.#key
  }

  ids(): string[] {
    return [...this.#waiters.keys()]
  }

  has(id: string): boolean {
    return this.#waiters.has(id)
  }

  /** The jobs whose end is not known yet. */
  open(): string[] {
    return this.ids().filter(id => !this.#untold.has(id))
  }

  wait(id: string): Promise<LiveJob> {
    const waiters = this.#waiters.get(id) ?? []
    this.#waiters.set(id, waiters)
    this.#untold.delete(id)
    const others = this.#read().filter(([other]) => other !== id)
    this.#write([...others, [id, Date.now()]].slice(-MAX_REMEMBERED) as Remembered[])
    return new Promise((resolve, reject) => waiters.push({ resolve, reject }))
  }

  /** The job is known to be in this attempt: ends of earlier attempts are ignored. */
  expect(id: string, attempt: number): void {
    this.#attempts.set(id, attempt)
  }

  /** The job has finished. `told`: a listener was called; otherwise the job is remembered until somebody waits for it. */
  settle(job: LiveJob, told: boolean): void {
    const waiters = this.#waiters.get(job.id)
    if (!waiters || job.attempt < (this.#attempts.get(job.id) ?? 0)) return
    if (waiters.length === 0 && !told) {
      this.#untold.add(job.id)
      return
    }
    if (waiters.length === 0 && !this.#isPage) {
      this.#forgetHere(job.id)
      this.#write(this.#read().map(each => (each[0] === job.id ? [each[0], each[1], 'shown'] : each)))
      return
    }
    this.#remove(job.id)
    for (const { resolve } of waiters) resolve(job)
  }

  reject(id: string, error: Error): void {
    const waiters = this.#waiters.get(id) ?? []
    this.#remove(id)
    for (const { reject } of waiters) reject(error)
  }

  forget(id: string): void {
    this.reject(id, abortError(`The page no longer waits for the job ${id}.`))
  }

  /** Rejects all waiting calls; stored jobs stay. */
  rejectAll(reason: string): void {
    const all = [...this.#waiters.values()].flat()
    this.#waiters.clear()
    this.#attempts.clear()
    this.#untold.clear()
    for (const { reject } of all) reject(abortError(reason))
  }

  #forgetHere(id: string): void {
    this.#waiters.delete(id)
    this.#attempts.delete(id)
    this.#untold.delete(id)
  }

  #remove(id: string): void {
    this.#forgetHere(id)
    this.#write(this.#read().filter(([other]) => other !== id))
  }

  #read(): Remembered[] {
    if (this.#key === null) return []
    try {
      const stored: unknown = JSON.parse(this.#storage?.getItem(this.#key) ?? '[]')
      const after = Date.now() - REMEMBERED_MS
      return Array.isArray(stored) ? stored.filter(isRemembered).filter(([, sinceMs]) => sinceMs > after) : []
    } catch {
      return []
    }
  }

  #write(remembered: Remembered[]): void {
    if (this.#key === null) return
    try {
      if (remembered.length === 0) this.#storage?.removeItem(this.#key)
      else
        this.#storage?.setItem(
          this.#key,
          JSON.stringify([...new Map(remembered.map(each => [each[0], each])).values()]),
        )
    } catch {
      // Forbidden or full: this page still waits.
    }
  }
}
