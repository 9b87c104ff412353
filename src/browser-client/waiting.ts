import type { LiveJob } from '../contract/live-job.ts'

/** More would be a mistake of the page, and each of them costs a request after a reload. */
const MAX_REMEMBERED = 100
const REMEMBERED_MS = 7 * 86_400_000

interface Waiter {
  resolve: (job: LiveJob) => void
  reject: (error: Error) => void
}

/** `shown`: an element has told the window of its end, and the page itself has not heard of it. */
type Remembered = [id: string, sinceMs: number, shown?: 'shown']

const isRemembered = (entry: unknown): entry is Remembered =>
  Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'

const abortError = (message: string): Error => new DOMException(message, 'AbortError')

/**
 * The jobs that somebody waits for, in this page and, by way of the storage, in the next one. Storage that is full or forbidden
 * costs the memory across reloads, and nothing else.
 */
export class Waiting {
  readonly #storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null
  readonly #isPage: boolean
  readonly #waiters = new Map<string, Waiter[]>()
  /** The attempt that is waited for, where an earlier one has ended. */
  readonly #attempts = new Map<string, number>()
  /** Finished, and nobody has been told yet. */
  readonly #untold = new Set<string>()
  #key: string | null = null

  /**
   * `isPage`: what is told here is told to the page. The client of an element tells nobody who waits: the page may make its own
   * later, and that shall hear of the same ends.
   */
  constructor(storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null, isPage = true) {
    this.#storage = storage
    this.#isPage = isPage
  }

  /** The place of what this user waits for; what was asked for before it was known moves there. */
  use(key: string): void {
    this.#key = key
    const remembered = this.#read().slice(-MAX_REMEMBERED)
    for (const id of this.#waiters.keys()) remembered.push([id, Date.now()])
    this.#write(remembered)
    this.reload()
  }

  /** Another user has come: what is stored stays for the one before, and who waits in this page waits in vain. */
  leave(): void {
    this.#key = null
    this.rejectAll('The page has changed its user.')
  }

  /** Takes over what another tab has written, when the browser says so. */
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

  /** Those whose end is not known. */
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

  /** It is known to be in this attempt: what is still heard of earlier ones is not its end. */
  expect(id: string, attempt: number): void {
    this.#attempts.set(id, attempt)
  }

  /** The job has finished. `told`: a listener heard of it; else it is remembered until somebody asks. */
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
    this.reject(id, abortError(`Nobody waits for the job ${id} any more.`))
  }

  /** What is stored stays. */
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
      // Forbidden or full: the page itself still waits.
    }
  }
}
