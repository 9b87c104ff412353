import { setImmediate as turn } from 'node:timers/promises'
import type { Job, WorkingJob } from './job.ts'

/** A loop without pauses would keep the process from ever sending a report: it lets others have a turn this often. */
const TURN_EVERY_MS = 50

export type Trackable<Item> = Iterable<Item> | AsyncIterable<Item>

/** What `for await` goes over. The job is made when the loop begins; before that, `job` is null. */
export interface Tracked<Item> extends AsyncIterableIterator<Item> {
  readonly job: Job | null
}

/** How many items there will be, where that is known. A text is gone over by characters, of which nobody knows the number. */
export const sizeOf = (items: Trackable<unknown>): number | null => {
  if (typeof items === 'string') return null
  const { length, size } = items as { length?: unknown; size?: unknown }
  for (const count of [length, size]) if (Number.isSafeInteger(count) && (count as number) >= 0) return count as number
  return null
}

type Step<Item> = IteratorResult<Item, undefined>

const OVER = Promise.resolve({ done: true, value: undefined } as const)

/** Goes over `items` and reports for each that it is done when the next one is asked for. */
class Tracking<Item> implements Tracked<Item> {
  job: WorkingJob | null = null
  readonly #items: Trackable<Item>
  readonly #begin: () => Promise<WorkingJob>
  #source: Iterator<Item> | AsyncIterator<Item> | null = null
  #beginning: Promise<WorkingJob> | null = null
  #turnedAt = 0
  #isOver = false

  constructor(items: Trackable<Item>, begin: () => Promise<WorkingJob>) {
    this.#items = items
    this.#begin = begin
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<Step<Item>> {
    const { job } = this
    if (this.#isOver) return OVER
    if (!job) return this.#first()
    job.progress.advance(1)
    if (job.signal.aborted) return this.#stopped(job)
    if (performance.now() - this.#turnedAt > TURN_EVERY_MS) return this.#nextAfterTurn(job)
    return this.#advance(job)
  }

  /** The loop was left: by `break`, `return` or an error, which look all the same from here. */
  async return(): Promise<Step<Item>> {
    const { job } = this
    this.#isOver = true
    // Later, so that an error that nobody catches, or `job.fail` in a catch, can say more.
    if (job) setImmediate(() => void leave(job))
    await this.#source?.return?.()
    return OVER
  }

  async #first(): Promise<Step<Item>> {
    // Whoever takes several items at once begins one job all the same.
    if (this.#beginning) return this.#beginning.then(() => this.next())
    this.#beginning = this.#begin()
    const job = await this.#beginning
    this.job = job
    if (this.#isOver) {
      void leave(job)
      return OVER
    }
    const asynchronous = (this.#items as Partial<AsyncIterable<Item>>)[Symbol.asyncIterator]
    this.#source = asynchronous ? asynchronous.call(this.#items) : (this.#items as Iterable<Item>)[Symbol.iterator]()
    this.#turnedAt = performance.now()
    return this.#advance(job)
  }

  async #nextAfterTurn(job: WorkingJob): Promise<Step<Item>> {
    await turn()
    this.#turnedAt = performance.now()
    return job.signal.aborted ? this.#stopped(job) : this.#advance(job)
  }

  /** Without a promise more than needed: this is what an item costs. */
  #advance(job: WorkingJob): Promise<Step<Item>> {
    let step: Step<Item> | Promise<Step<Item>>
    try {
      step = (this.#source as Iterator<Item>).next() as Step<Item> | Promise<Step<Item>>
    } catch (error) {
      return this.#failed(job, error)
    }
    if (step instanceof Promise) return this.#settle(job, step)
    if (step.done === true) return this.#done(job)
    // `for await` over a plain list of promises gives what they resolve to, and so does this.
    if (isThenable(step.value)) return this.#settle(job, toStep(step.value as PromiseLike<Item>))
    return Promise.resolve(step)
  }

  async #settle(job: WorkingJob, pending: PromiseLike<Step<Item>>): Promise<Step<Item>> {
    try {
      const step = await pending
      return step.done === true ? await this.#done(job) : step
    } catch (error) {
      return this.#failed(job, error)
    }
  }

  async #done(job: WorkingJob): Promise<Step<Item>> {
    this.#isOver = true
    await job.complete()
    return OVER
  }

  /** The error goes its way at once, whether or not the service is there to hear of it. */
  async #failed(job: WorkingJob, error: unknown): Promise<never> {
    this.#isOver = true
    void job.fail(error)
    throw error
  }

  /** A loop that just ended would let what comes after it take a part for the whole. */
  async #stopped(job: WorkingJob): Promise<never> {
    this.#isOver = true
    try {
      await this.#source?.return?.()
    } catch (error) {
      return this.#failed(job, error)
    }
    const { reason } = job.signal as { reason: Error }
    void job.fail(reason)
    throw reason
  }
}

/**
 * A loop that was left early ends its job as failed: `break`, `return` and a thrown error cannot be told apart, and an error
 * must not look like a success. Whoever leaves a loop on purpose says `complete` or `cancelled` before.
 */
const leave = async (job: WorkingJob): Promise<void> => {
  if (job.hasEnded) return
  if (job.signal.aborted) await job.fail(job.signal.reason)
  else
    await job.fail(new LeftError(`The loop was left after ${job.progress.describe()}, by break, return or an error.`))
}

/** Its stack would show this file and not the loop. */
class LeftError extends Error {
  constructor(message: string) {
    super(message)
    delete this.stack
  }
}

const isThenable = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'

const toStep = async <Item>(value: PromiseLike<Item>): Promise<Step<Item>> => ({ done: false, value: await value })

/** Makes a tracked loop: `begin` is called once, when it starts. */
export const createTracking = <Item>(items: Trackable<Item>, begin: () => Promise<WorkingJob>): Tracked<Item> =>
  new Tracking(items, begin)
