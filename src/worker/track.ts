import { setImmediate as turn } from 'node:timers/promises'
import type { Job, WorkingJob } from './job.ts'
import { Source, type Step, type Trackable } from './source.ts'
import type { Loop, WaitingLoops } from './waiting-loops.ts'

/** A loop without pauses would never let the process send a report, so it pauses this often for a turn of the event loop. */
const TURN_EVERY_MS = 50

/** How long a cancellation waits for a source to clean up. */
const CLEANUP_MS = 10_000
/** A source that is producing an item cleans up only after that, which may never come. */
const BUSY_CLEANUP_MS = 1_000

/** A tracked loop. The job is created when the loop begins; before that, `job` is null. */
export interface Tracked<Item> extends AsyncIterableIterator<Item> {
  readonly job: Job | null
}

const OVER = Promise.resolve({ done: true, value: undefined } as const)

/** Iterates a source, and reports each item as done when the next one is asked for. */
class Tracking<Item> implements Tracked<Item>, Loop {
  job: WorkingJob | null = null
  readonly #source: Source<Item>
  readonly #begin: () => Promise<WorkingJob>
  readonly #loops: WaitingLoops
  #beginning: Promise<WorkingJob> | null = null
  /** Functions that each end one wait for an item. */
  readonly #waits = new Set<() => void>()
  #turnedAt = 0
  #isOver = false

  constructor(source: Source<Item>, begin: () => Promise<WorkingJob>, loops: WaitingLoops) {
    this.#source = source
    this.#begin = begin
    this.#loops = loops
  }

  get isWaiting(): boolean {
    return this.#waits.size > 0
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<Step<Item>> {
    const { job } = this
    if (this.#isOver) return OVER
    if (!job) return this.#first()
    job.progress.advance(1)
    if (job.signal.aborted) return this.#stopped(job, CLEANUP_MS)
    if (performance.now() - this.#turnedAt > TURN_EVERY_MS) return this.#nextAfterTurn(job)
    return this.#advance(job)
  }

  /** The loop was left by `break`, `return` or an error, which cannot be told apart here. */
  async return(value?: undefined): Promise<Step<Item>> {
    const { job } = this
    this.#end()
    // Later, so that an uncaught error, or `job.fail` in a catch, can give a better reason.
    if (job) setImmediate(() => void leave(job))
    await this.#source.close()
    return { done: true, value }
  }

  /** A generator that delegates to this loop (`yield*`) passes an error on. The source may continue after it. */
  async throw(error: unknown): Promise<Step<Item>> {
    const { job } = this
    const step = job && !this.#isOver ? this.#source.throw(error) : null
    if (job && step) return this.#wait(job, step)
    this.#end()
    if (job) void job.fail(error)
    await this.#source.close()
    throw error
  }

  async #first(): Promise<Step<Item>> {
    // A caller that asks for several items at once still creates one job.
    if (this.#beginning) return this.#beginning.then(() => this.next())
    // Asked for at once, as a loop without Headway would do: some sources only listen from then on, and would miss items.
    const pulled = this.#source.isAsync ? this.#source.pull() : null
    pulled?.catch(() => undefined)
    this.#beginning = this.#begin()
    const job = await this.#beginning
    this.job = job
    if (this.#isOver) {
      void leave(job)
      return OVER
    }
    this.#loops.add(this)
    job.signal.addEventListener('abort', this.#onStop, { once: true })
    this.#turnedAt = performance.now()
    if (job.signal.aborted) return this.#stopped(job, pulled ? BUSY_CLEANUP_MS : CLEANUP_MS)
    return pulled ? this.#wait(job, pulled) : this.#advance(job)
  }

  async #nextAfterTurn(job: WorkingJob): Promise<Step<Item>> {
    await turn()
    this.#turnedAt = performance.now()
    if (this.#isOver) return OVER
    return job.signal.aborted ? this.#stopped(job, CLEANUP_MS) : this.#advance(job)
  }

  /** With as few promises as possible, because this is the cost per item. */
  #advance(job: WorkingJob): Promise<Step<Item>> {
    if (this.#source.isAsync) return this.#wait(job, this.#source.pull())
    let step: Step<Item>
    try {
      step = this.#source.step()
    } catch (error) {
      this.#source.ended()
      return this.#failed(job, error)
    }
    if (step.done === true) return this.#done(job)
    // `for await` over a list of promises gives the values that they resolve to, and so does this.
    return isThenable(step.value) ? this.#wait(job, toStep(step.value)) : Promise.resolve(step)
  }

  /** Waits for an item, and for the end of the job: a source may be silent for ever. */
  #wait(job: WorkingJob, pending: Promise<Step<Item>>): Promise<Step<Item>> {
    return new Promise(resolve => {
      const stop = (): void => resolve(this.#isOver ? OVER : this.#stopped(job, BUSY_CLEANUP_MS))
      this.#waits.add(stop)
      pending.then(
        step => {
          if (this.#waits.delete(stop)) resolve(step.done === true ? this.#done(job) : step)
        },
        (error: unknown) => {
          if (!this.#waits.delete(stop)) return
          // A source that throws has ended; a list in which one promise rejects has not.
          if (this.#source.isAsync) this.#source.ended()
          resolve(this.#failed(job, error))
        },
      )
    })
  }

  readonly #onStop = (): void => {
    const waits = [...this.#waits]
    this.#waits.clear()
    for (const stop of waits) stop()
  }

  async #done(job: WorkingJob): Promise<Step<Item>> {
    this.#source.ended()
    this.#end()
    await job.complete()
    return OVER
  }

  /** Ends the job with the error, and throws it without waiting for the service. */
  async #failed(job: WorkingJob, error: unknown): Promise<never> {
    this.#end()
    void job.fail(error)
    // The first error counts, so one of the cleanup is ignored.
    await within(CLEANUP_MS, this.#source.close()).catch(() => undefined)
    throw error
  }

  /** Stops the loop with an error. If the loop ended normally, the code after it would take a part of the items for all. */
  async #stopped(job: WorkingJob, cleanupMs: number): Promise<never> {
    this.#end()
    const closing = this.#source.close()
    if (cleanupMs === BUSY_CLEANUP_MS) this.#source.interrupt()
    try {
      await within(cleanupMs, closing)
    } catch (error) {
      void job.fail(error)
      throw error
    }
    const { reason } = job.signal as { reason: Error }
    void job.fail(reason)
    throw reason
  }

  #end(): void {
    this.#isOver = true
    this.#loops.delete(this)
    this.job?.signal.removeEventListener('abort', this.#onStop)
  }
}

/** Waits for `promise`, at most `ms`. The process stays alive meanwhile. */
const within = async (ms: number, promise: Promise<void>): Promise<void> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => (timer = setTimeout(resolve, ms)))
  try {
    await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * A loop that was left early ends its job as failed: `break`, `return` and a thrown error cannot be told apart, and an error
 * must not look like a success. A program that leaves a loop on purpose calls `complete` or `cancelled` before.
 */
const leave = async (job: WorkingJob): Promise<void> => {
  if (job.hasEnded) return
  if (job.signal.aborted) await job.fail(job.signal.reason)
  else
    await job.fail(new LeftError(`The loop was left after ${job.progress.describe()}, by break, return or an error.`))
}

/** An error without a stack, because the stack would show this file and not the loop. */
class LeftError extends Error {
  constructor(message: string) {
    super(message)
    delete this.stack
  }
}

const isThenable = (value: unknown): value is PromiseLike<never> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'

const toStep = async <Item>(value: PromiseLike<Item>): Promise<Step<Item>> => ({ done: false, value: await value })

/**
 * Makes a tracked loop. The iterator of `items` is taken now, and `begin` is called once, when the loop starts. Raises a
 * `TypeError` for a value that cannot be iterated.
 */
export const createTracking = <Item>(
  items: Trackable<Item>,
  begin: () => Promise<WorkingJob>,
  loops: WaitingLoops,
): Tracked<Item> => new Tracking(new Source(items), begin, loops)
