import type { EventEmitter } from 'node:events'

export type Trackable<Item> = Iterable<Item> | AsyncIterable<Item>

export type Step<Item> = IteratorResult<Item, undefined>

type Method = (this: unknown, ...args: unknown[]) => unknown

/** The error for `items` that cannot be iterated, for the programmer who wrote the call. */
const refusal = (problem: string, cause?: unknown): TypeError =>
  new TypeError(`track(items, job): items ${problem}`, { cause })

/** What was passed instead of something that can be iterated, and what to do about it. */
const described = (items: unknown): string => {
  if (typeof items === 'function') return 'is a function: call it, and hand over what it returns.'
  if (typeof items !== 'object' || items === null) return `is ${String(items)}.`
  if (typeof (items as { then?: unknown }).then === 'function') return 'is a promise: await it first.'
  const keys = Object.keys(items).slice(0, 5)
  return keys.length === 0 ? 'is an object.' : `is an object with ${keys.join(', ')}: hand over what is in it.`
}

const methodOf = (holder: unknown, name: PropertyKey): Method | null => {
  const method: unknown = (holder as Record<PropertyKey, unknown> | null | undefined)?.[name]
  if (method === undefined || method === null) return null
  if (typeof method !== 'function') throw refusal(`cannot be iterated: its ${String(name)} is no function.`)
  return method as Method
}

const isEmitter = (items: unknown): items is EventEmitter =>
  typeof (items as Partial<EventEmitter> | null)?.on === 'function' &&
  typeof (items as Partial<EventEmitter>).removeListener === 'function'

/**
 * Handles rejections of promises in a list. One may reject before the loop reaches it, while the job is being created. Node
 * must not report it as unhandled then, because the loop will throw its error.
 */
const keepRejections = (items: Iterable<unknown>): void => {
  for (const item of items) if (item instanceof Promise) item.catch(() => undefined)
}

interface Destroyable {
  destroy(): unknown
}

/**
 * Whether `items` is a stream of Node, which ends its iterator when it is destroyed. On other objects, `destroy` may mean
 * anything.
 */
const isNodeStream = (items: unknown): items is Destroyable => {
  const { pipe, destroy, readable } = items as { pipe?: unknown; destroy?: unknown; readable?: unknown }
  return typeof pipe === 'function' && typeof destroy === 'function' && typeof readable === 'boolean'
}

const begin = (items: unknown, method: Method): unknown => {
  try {
    return method.call(items)
  } catch (error) {
    // Any other error is passed on unchanged.
    if ((items as { locked?: unknown }).locked !== true) throw error
    throw refusal('is a stream that another reader has locked.', error)
  }
}

/**
 * The iterator of a loop's items. It is taken when this object is made: a source that has begun (the lines of a file, the
 * events of an emitter) only keeps items for an iterator that exists. Raises a `TypeError` for a value that cannot be iterated,
 * and the error of `items` if taking the iterator fails.
 */
export class Source<Item> {
  readonly isAsync: boolean
  readonly #items: Trackable<Item>
  readonly #iterator: unknown
  readonly #next: Method
  #isClosed = false
  /** An error that the source emitted before the first item was asked for. The iterator may throw it as well, or may not. */
  #heard: { error: unknown } | null = null
  #deafen: () => void = () => undefined

  constructor(items: Trackable<Item>) {
    const asynchronous = methodOf(items, Symbol.asyncIterator)
    const method = asynchronous ?? methodOf(items, Symbol.iterator)
    if (!method) throw refusal(`must be iterable, as a list, a generator or a stream is, and ${described(items)}`)
    const iterator = begin(items, method)
    const next = typeof iterator === 'object' && iterator !== null ? methodOf(iterator, 'next') : null
    if (!next) throw refusal('cannot be iterated: its iterator has no function next.')
    this.isAsync = asynchronous !== null
    this.#items = items
    this.#iterator = iterator
    this.#next = next
    if (isEmitter(items)) this.#listen(items)
    if (Array.isArray(items) || items instanceof Set) keepRejections(items)
  }

  /**
   * Listens for errors of an emitter whose iterator does not listen yet, such as a stream's. Without a listener the error would
   * end the process.
   */
  #listen(emitter: EventEmitter): void {
    const hear = (error: unknown): void => void (this.#heard ??= { error })
    emitter.on('error', hear)
    this.#deafen = () => {
      this.#deafen = () => undefined
      emitter.removeListener('error', hear)
    }
  }

  /** The next step of a synchronous source. Raises the error of the source, and a `TypeError` for a value that is no step. */
  step(): Step<Item> {
    return stepOf(this.#next.call(this.#iterator))
  }

  /** The next step of an asynchronous source. */
  pull(): Promise<Step<Item>> {
    const step = this.#promise(() => this.#next.call(this.#iterator))
    // From here on the iterator listens itself.
    this.#deafen()
    return this.#heard ? this.#withHeard(this.#heard.error, step) : step
  }

  /** Passes an error to the source's `throw`; null: it has none. */
  throw(error: unknown): Promise<Step<Item>> | null {
    const method = methodOf(this.#iterator, 'throw')
    return method && this.#promise(() => method.call(this.#iterator, error))
  }

  /** Tells the source, once, that no more items are wanted. Resolves when it has cleaned up; rejects with its error. */
  async close(): Promise<void> {
    this.#deafen()
    if (this.#isClosed) return
    this.#isClosed = true
    await methodOf(this.#iterator, 'return')?.call(this.#iterator)
  }

  /** The source has ended by itself, so `close` does nothing more. */
  ended(): void {
    this.#deafen()
    this.#isClosed = true
  }

  /** Ends a wait that would delay `close`, because a stream's iterator runs its calls one after the other. */
  interrupt(): void {
    if (isNodeStream(this.#items)) this.#items.destroy()
  }

  async #promise(call: () => unknown): Promise<Step<Item>> {
    return stepOf(await call())
  }

  /** Waits for a step that the iterator may still have, and throws the error otherwise. */
  async #withHeard(error: unknown, step: Promise<Step<Item>>): Promise<Step<Item>> {
    let timer: NodeJS.Immediate | undefined
    const late = new Promise<never>((_, reject) => {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- it is what the source has emitted
      timer = setImmediate(() => reject(error))
    })
    try {
      const given = await Promise.race([step, late])
      if (given.done !== true) return given
    } finally {
      clearImmediate(timer)
    }
    throw error
  }
}

/** A step as `for await` reads it: each property once, and `done` by its truth. */
const stepOf = <Item>(given: unknown): Step<Item> => {
  if ((typeof given !== 'object' && typeof given !== 'function') || given === null) {
    throw refusal(`cannot be iterated: its iterator gave ${String(given)} in place of a step.`)
  }
  const step = given as { done?: unknown; value?: unknown }
  return step.done ? { done: true, value: undefined } : { done: false, value: step.value as Item }
}

/**
 * How many items there will be; null if that is not known. A text is iterated by characters, and its length does not count
 * those.
 */
export const sizeOf = (items: Trackable<unknown>): number | null => {
  if (typeof items === 'string') return null
  try {
    const { length, size } = items as { length?: unknown; size?: unknown }
    for (const count of [length, size])
      if (Number.isSafeInteger(count) && (count as number) >= 0) return count as number
  } catch {
    // The total stays unknown.
  }
  return null
}
