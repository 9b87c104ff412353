import type { EventEmitter } from 'node:events'

export type Trackable<Item> = Iterable<Item> | AsyncIterable<Item>

export type Step<Item> = IteratorResult<Item, undefined>

type Method = (this: unknown, ...args: unknown[]) => unknown

/** Why `items` cannot be gone over, for whoever has written the call. */
const refusal = (problem: string, cause?: unknown): TypeError =>
  new TypeError(`track(items, job): items ${problem}`, { cause })

/** What somebody has handed over in place of something that can be iterated, and what to do about it. */
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
 * A promise in a list may reject before the loop gets to it, while its job is being made for one: nobody has dropped it then,
 * and the loop will throw its error.
 */
const keepRejections = (items: Iterable<unknown>): void => {
  for (const item of items) if (item instanceof Promise) item.catch(() => undefined)
}

interface Destroyable {
  destroy(): unknown
}

/** A stream of Node: its `destroy` is what leaving its iterator comes to. That of other objects may mean anything. */
const isNodeStream = (items: unknown): items is Destroyable => {
  const { pipe, destroy, readable } = items as { pipe?: unknown; destroy?: unknown; readable?: unknown }
  return typeof pipe === 'function' && typeof destroy === 'function' && typeof readable === 'boolean'
}

const begin = (items: unknown, method: Method): unknown => {
  try {
    return method.call(items)
  } catch (error) {
    // The error of anything else is for its owner to read.
    if ((items as { locked?: unknown }).locked !== true) throw error
    throw refusal('is a stream that another reader has locked.', error)
  }
}

/**
 * The iterator of what a loop goes over. It is taken when this is made, since a source that has begun (the lines of a file, the
 * events of an emitter) keeps for its iterator what comes from then on, and for nobody else. Raises a `TypeError` for what
 * cannot be iterated, and the error of `items` where that has one of its own.
 */
export class Source<Item> {
  readonly isAsync: boolean
  readonly #items: Trackable<Item>
  readonly #iterator: unknown
  readonly #next: Method
  #isClosed = false
  /** An error of the source from before the first item was asked for. Its iterator may tell of it, and may not. */
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

  /** An emitter whose iterator does not listen yet, as that of a stream, would end the process with its error. */
  #listen(emitter: EventEmitter): void {
    const hear = (error: unknown): void => void (this.#heard ??= { error })
    emitter.on('error', hear)
    this.#deafen = () => {
      this.#deafen = () => undefined
      emitter.removeListener('error', hear)
    }
  }

  /** The next step of a source that is synchronous. Raises the error of the source, and a `TypeError` for what is no step. */
  step(): Step<Item> {
    return stepOf(this.#next.call(this.#iterator))
  }

  /** The next step of one that is not. */
  pull(): Promise<Step<Item>> {
    const step = this.#promise(() => this.#next.call(this.#iterator))
    // From here on the iterator listens itself.
    this.#deafen()
    return this.#heard ? this.#withHeard(this.#heard.error, step) : step
  }

  /** Hands an error to a source that takes one; null: it does not. */
  throw(error: unknown): Promise<Step<Item>> | null {
    const method = methodOf(this.#iterator, 'throw')
    return method && this.#promise(() => method.call(this.#iterator, error))
  }

  /** Tells the source, once, that nobody goes on with it. Resolves when it has cleaned up; rejects with its error. */
  async close(): Promise<void> {
    this.#deafen()
    if (this.#isClosed) return
    this.#isClosed = true
    await methodOf(this.#iterator, 'return')?.call(this.#iterator)
  }

  /** The source has ended by itself: it is not to be told of it. */
  ended(): void {
    this.#deafen()
    this.#isClosed = true
  }

  /** Ends a wait that `close` has to queue behind: an iterator of a stream does one thing after the other. */
  interrupt(): void {
    if (isNodeStream(this.#items)) this.#items.destroy()
  }

  async #promise(call: () => unknown): Promise<Step<Item>> {
    return stepOf(await call())
  }

  /** What the iterator still has comes first. */
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

/** A step as `for await` reads it: once, and with whatever stands for true. */
const stepOf = <Item>(given: unknown): Step<Item> => {
  if ((typeof given !== 'object' && typeof given !== 'function') || given === null) {
    throw refusal(`cannot be iterated: its iterator gave ${String(given)} in place of a step.`)
  }
  const step = given as { done?: unknown; value?: unknown }
  return step.done ? { done: true, value: undefined } : { done: false, value: step.value as Item }
}

/** How many items there will be, where that is known. A text is gone over by characters, of which nobody knows the number. */
export const sizeOf = (items: Trackable<unknown>): number | null => {
  if (typeof items === 'string') return null
  try {
    const { length, size } = items as { length?: unknown; size?: unknown }
    for (const count of [length, size])
      if (Number.isSafeInteger(count) && (count as number) >= 0) return count as number
  } catch {
    // Its total stays unknown.
  }
  return null
}
