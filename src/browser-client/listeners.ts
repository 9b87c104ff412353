import { isFinished } from '../contract/states.ts'
import type { JobUpdate } from './job-store.ts'
import type { HeadwayEvent } from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'

type JobListener = (job: LiveJob) => void

/**
 * Calls a listener of the page. An error in it is reported like any uncaught error, and the other listeners are still called.
 */
const call = <Args extends unknown[]>(listener: (...args: Args) => void, ...args: Args): void => {
  try {
    listener(...args)
  } catch (error) {
    setTimeout(() => {
      throw error
    })
  }
}

/** The listeners of a client. */
export class Listeners {
  readonly #changed = new Set<() => void>()
  readonly #named = new Map<HeadwayEvent, Set<JobListener>>()

  subscribe(listener: () => void): () => void {
    // A new function, so that a listener that subscribed twice can be removed once.
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

  /** Answers whether any listener was called. */
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
