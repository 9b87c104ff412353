import { isFinished } from '../contract/states.ts'
import type { JobUpdate } from './job-store.ts'
import type { HeadwayEvent } from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'

type JobListener = (job: LiveJob) => void

/** An error of a page's listener is the page's: it is reported as any uncaught one, and keeps nobody else from being told. */
const call = <Args extends unknown[]>(listener: (...args: Args) => void, ...args: Args): void => {
  try {
    listener(...args)
  } catch (error) {
    setTimeout(() => {
      throw error
    })
  }
}

/** Those who want to be told, and of what. */
export class Listeners {
  readonly #changed = new Set<() => void>()
  readonly #named = new Map<HeadwayEvent, Set<JobListener>>()

  subscribe(listener: () => void): () => void {
    // A function of its own: the same listener may subscribe twice, and stop once.
    const own = () => listener()
    this.#changed.add(own)
    return () => void this.#changed.delete(own)
  }

  on(event: HeadwayEvent, listener: JobListener): () => void {
    const own: JobListener = job => listener(job)
    const listeners = this.#named.get(event) ?? new Set()
    this.#named.set(event, listeners.add(own))
    return () => void listeners.delete(own)
  }

  /** Answers whether anyone was told. */
  emit({ name, job }: JobUpdate): boolean {
    const finished = isFinished(job) && name === job.status
    const listeners = [...(this.#named.get(name) ?? []), ...((finished && this.#named.get('finished')) || [])]
    for (const listener of listeners) call(listener, job)
    return listeners.length > 0
  }

  changed(): void {
    for (const listener of [...this.#changed]) call(listener)
  }

  clear(): void {
    this.#changed.clear()
    this.#named.clear()
  }
}
