import { EventEmitter, on } from 'node:events'
import { createReadStream, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough, Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createWorker, StopError, type Trackable } from '../../src/worker/headway.ts'
import { goodAnswer, heartbeatAnswer, startFakeService, type FakeService } from '../helpers/fake-service.ts'
import { waitFor } from '../helpers/wait.ts'

const FILES = t.testdir()
const LINES = Array.from({ length: 361 }, (_, line) => String(line))
const FILE = join(FILES, 'lines.txt')
writeFileSync(FILE, LINES.map(line => `${line}\n`).join(''))

const connect = ({ url }: FakeService) => {
  const problems: Error[] = []
  const headway = createWorker({ url, token: '', watchDeath: false, onProblem: problem => problems.push(problem) })
  return { headway, problems }
}

/** The items that a loop over `items` gets. `meanwhile` is called while its job is made. A source begins when it is made. */
const loop = async <Item>(
  t: Test,
  items: () => Trackable<Item>,
  meanwhile: () => unknown = () => undefined,
): Promise<{ seen: Item[]; error: unknown; service: FakeService }> => {
  const service = await startFakeService(t)
  service.script = async (received, response) => {
    if (received.call === 'POST /jobs') {
      await meanwhile()
      for (let turns = 0; turns < 20; turns++) await turn()
    }
    return goodAnswer(received, response)
  }
  const seen: Item[] = []
  const tracked = connect(service).headway.track(items(), { name: 'loop' })
  // A program may do something between the call of track() and its loop.
  for (let turns = 0; turns < 20; turns++) await turn()
  try {
    for await (const item of tracked) seen.push(item)
  } catch (error) {
    return { seen, error, service }
  }
  return { seen, error: null, service }
}

const endOf = (service: FakeService) =>
  waitFor(() => service.received.find(({ call }) => /complete|fail|cancelled/.test(call)))

class Lines extends EventEmitter {
  readonly events = new EventEmitter()
  async *[Symbol.asyncIterator]() {
    for await (const [line] of on(this.events, 'line', { close: ['close'] })) yield line as string
  }
}

t.test('a loop gets every item that comes after track() was called, once and in order', async t => {
  const emitter = new EventEmitter()
  const emit = async () => {
    for (const line of LINES) {
      emitter.emit('line', line)
      if (Number(line) % 50 === 0) await turn()
    }
    emitter.emit('close')
  }
  async function* listening() {
    for await (const [line] of on(emitter, 'line', { close: ['close'] })) yield line as string
  }
  const lines = new Lines()
  const input = new PassThrough()
  const write = async () => {
    for (const line of LINES) {
      input.write(`${line}\n`)
      if (Number(line) % 50 === 0) await turn()
    }
    input.end()
  }
  const flowing = new PassThrough({ objectMode: true })
  const list = () => LINES[Symbol.iterator]()
  const likePromise = <Value>(value: Value) => ({
    then: (use: (value: Value) => void) => {
      use(value)
    },
  })
  const cases: Record<string, [items: () => unknown, meanwhile?: () => unknown]> = {
    'lines of a file': [() => createInterface({ input: createReadStream(FILE) })],
    'lines of a handle': [() => handle.readLines()],
    'lines that trickle in': [() => createInterface({ input }), write],
    'a generator that listens when it begins': [listening, emit],
    'events, with what they come with': [
      () => Readable.from(on(emitter, 'line', { close: ['close'] })).flatMap(x => x as string[]),
      emit,
    ],
    'an emitter that can be iterated': [
      () => lines,
      () => {
        for (const line of LINES) lines.events.emit('line', line)
        lines.events.emit('close')
      },
    ],
    'a flowing stream': [
      () => flowing.resume(),
      async () => {
        for (const line of LINES) flowing.write(line)
        flowing.end()
        await turn()
      },
    ],
    'a stream of items': [() => Readable.from(LINES)],
    'a web stream': [() => Readable.toWeb(Readable.from(LINES))],
    'the keys of a map': [() => new Map(LINES.map(line => [line, 1])).keys()],
    'an iterator for promises that is null': [() => ({ [Symbol.iterator]: list, [Symbol.asyncIterator]: null })],
    'steps that are no promises': [() => ({ [Symbol.asyncIterator]: list })],
    'steps that are only like promises': [
      () => {
        const items = list()
        return { [Symbol.asyncIterator]: () => ({ next: () => likePromise(items.next()) }) }
      },
    ],
    'steps whose end is another word for it': [
      () => {
        const items = list()
        const next = () => {
          const { value, done } = items.next()
          return { value, done: done ? 'yes' : 0 }
        }
        return { [Symbol.iterator]: () => ({ next }) }
      },
    ],
  }
  const handle = await open(FILE)
  for (const [name, [items, meanwhile]] of Object.entries(cases)) {
    const { seen, error, service } = await loop(t, items as () => Trackable<unknown>, meanwhile)
    t.equal(error, null, name)
    t.same(seen, LINES, name)
    t.match(await endOf(service), { call: 'POST complete' }, name)
    t.match(service.bodies('POST heartbeat').at(-1), { processedCount: LINES.length }, name)
  }
})

t.test('a source that is faster than the loop is held back, and its items are not kept in memory', async t => {
  let given = 0
  const input = Readable.from(
    (function* () {
      for (; given < 100_000; given++) yield `${given}\n`
    })(),
  )
  let givenMeanwhile = 0
  const lines = () => createInterface({ input })
  const { seen } = await loop(t, lines, async () => {
    for (let turns = 0; turns < 5_000 && given < 100_000; turns++) await turn()
    givenMeanwhile = given
  })
  t.ok(givenMeanwhile > 500 && givenMeanwhile < 5_000, `${givenMeanwhile} lines were read before the loop began`)
  t.equal(seen.length, 100_000)
})

t.test('an error of a source that has begun reaches the loop, after the items that came before it', async t => {
  const wrong = new Error('the wire was cut')
  class Silent extends EventEmitter {
    async *[Symbol.asyncIterator]() {
      await new Promise(() => undefined)
      yield 1
    }
  }
  class Ending extends EventEmitter {
    async *[Symbol.asyncIterator]() {
      await Promise.resolve()
      yield 1
    }
  }
  /** Breaks before its job is made, and before its loop begins. */
  const breaking = <Source>(source: Source, breakIt: (source: Source) => void): Source => {
    setImmediate(() => breakIt(source))
    return source
  }
  const emitError = (emitter: EventEmitter) => void emitter.emit('error', wrong)
  const unreadable = Object.defineProperty({ done: false }, 'value', {
    get: () => {
      throw wrong
    },
  })
  const cases: Record<string, [items: () => unknown, seen: unknown[], message?: string]> = {
    'a file that does not exist': [() => createReadStream('/nowhere'), [], 'ENOENT'],
    'its lines': [() => createInterface({ input: createReadStream('/nowhere') }), [], 'ENOENT'],
    'a stream that breaks': [() => breaking(new PassThrough(), stream => stream.destroy(wrong)), []],
    'lines that break off': [
      () => {
        const input = breaking(new PassThrough(), stream => setImmediate(() => stream.destroy(wrong)))
        input.write('a\nb\n')
        return createInterface({ input })
      },
      ['a', 'b'],
    ],
    events: [
      () => {
        const emitter = breaking(new EventEmitter(), emitError)
        const events = on(emitter, 'x')
        emitter.emit('x', 1)
        return events
      },
      [[1]],
    ],
    'an emitter whose iterator does not tell': [() => breaking(new Silent(), emitError), []],
    'an emitter whose iterator goes on': [() => breaking(new Ending(), emitError), [1]],
    'a web stream': [() => new ReadableStream({ start: controller => controller.error(wrong) }), []],
    'a list of promises': [
      () => [Promise.resolve(1), breaking({ then: null }, () => undefined), Promise.reject(wrong)],
      [1, { then: null }],
    ],
    'a step that is none': [() => ({ [Symbol.iterator]: () => ({ next: () => 5 }) }), [], 'gave 5'],
    'an item that cannot be read': [() => ({ [Symbol.iterator]: () => ({ next: () => unreadable }) }), []],
    'an end that cannot be read': [
      () => ({
        [Symbol.asyncIterator]: () => ({
          next: () =>
            breaking(
              {
                get done() {
                  throw wrong
                },
              },
              () => undefined,
            ),
        }),
      }),
      [],
    ],
  }
  for (const [name, [items, expected, message = wrong.message]] of Object.entries(cases)) {
    const { seen, error, service } = await loop(t, items as () => Trackable<unknown>)
    t.match(String(error), message, name)
    t.same(seen, expected, name)
    t.match(await endOf(service), { call: 'POST fail', body: { errorMessage: message } }, name)
  }
})

t.test(
  'a value that cannot be iterated is refused with a sentence that names the argument, and makes no job',
  async t => {
    const service = await startFakeService(t)
    const { headway } = connect(service)
    const reader = new ReadableStream()
    reader.getReader()
    const own = new RangeError('not today')
    const cases: [items: unknown, message: RegExp][] = [
      [null, /items must be iterable, .* and is null\./],
      [undefined, /items .* is undefined\./],
      [42, /items .* is 42\./],
      [Symbol('s'), /items .* is Symbol\(s\)\./],
      [{ rows: [] }, /items .* is an object with rows: hand over what is in it\./],
      [{}, /items .* is an object\./],
      [{ length: 2, 0: 'a', 1: 'b' }, /items .* is an object with 0, 1, length/],
      [Promise.resolve([]), /items .* is a promise: await it first\./],
      [function* () {}, /items .* is a function: call it/],
      [Object.create(null), /items .* is an object\./],
      [reader, /items is a stream that another reader has locked\./],
      [{ [Symbol.iterator]: 5 }, /items cannot be iterated: its Symbol\(Symbol\.iterator\) is no function\./],
      [{ [Symbol.iterator]: () => 5 }, /items cannot be iterated: its iterator has no function next\./],
      [{ [Symbol.asyncIterator]: () => ({}) }, /items cannot be iterated: its iterator has no function next\./],
    ]
    for (const [items, message] of cases) {
      t.throws(() => headway.track(items as never, { name: 'refused' }), { name: 'TypeError', message })
    }
    const throwing = {
      locked: false,
      [Symbol.asyncIterator]: () => {
        throw own
      },
    }
    try {
      headway.track(throwing, { name: 'refused' })
      t.fail('an error of its own is for the loop')
    } catch (error) {
      t.equal(error, own)
    }
    await turn()
    t.same(service.received, [])
  },
)

/** A source that keeps a record of how it is left. */
const recording = (next: (call: number) => unknown, cleanUp: () => unknown = () => ({ done: true })) => {
  const left: string[] = []
  let calls = 0
  const items = {
    [Symbol.asyncIterator]: () => ({
      next: () => next(++calls) as Promise<IteratorResult<number>>,
      return: () => (left.push('return'), cleanUp() as never),
    }),
  }
  return { items, left }
}
const item = (value: number) => Promise.resolve({ done: false, value })

t.test('a source is told once when its loop was left, and not if the source has ended by itself', async t => {
  const service = await startFakeService(t)
  const { headway } = connect(service)
  const wrong = new Error('wrong')

  const broken = recording(item)
  for await (const value of headway.track(broken.items, { name: 'left' })) if (value === 3) break
  t.same(broken.left, ['return'])

  const thrown = recording(item)
  const going = headway.track(thrown.items, { name: 'thrown' })
  await t.rejects(async () => {
    for await (const value of going) if (value === 2) throw wrong
  }, wrong)
  await going.return!()
  t.same(thrown.left, ['return'])
  t.match(await going.next(), { done: true })

  const unclean = recording(item, () => Promise.reject(wrong))
  await t.rejects(async () => {
    for await (const value of headway.track(unclean.items, { name: 'unclean' })) if (value === 2) break
  }, wrong)

  const ended = recording(call => Promise.resolve({ done: call > 2, value: call }))
  for await (const value of headway.track(ended.items, { name: 'ended' })) t.ok(value)
  t.same(ended.left, [])
  const failed = recording(() => Promise.reject(wrong))
  await t.rejects(headway.track(failed.items, { name: 'failed' }).next(), wrong)
  t.same(failed.left, [])

  let cleaned = 0
  function* promises() {
    try {
      yield Promise.reject(wrong)
    } finally {
      cleaned++
    }
  }
  await t.rejects(headway.track(promises(), { name: 'promises' }).next(), wrong)
  t.equal(cleaned, 1, 'a list of which one promise fails has not ended')

  const unbegun = recording(item)
  const never = headway.track(unbegun.items, { name: 'never begun' })
  await never.return!()
  t.same(unbegun.left, ['return'])

  async function* delegating(tracked: AsyncIterable<number>) {
    yield* tracked
  }
  async function* forgiving() {
    for (let value = 1; ; value++) {
      try {
        yield value
      } catch {
        value += 10
      }
    }
  }
  const delegate = delegating(headway.track(forgiving(), { name: 'delegated' }))
  await delegate.next()
  t.match(await delegate.throw(wrong), { done: false, value: 12 })
  await delegate.return(undefined)
  const unforgiving = delegating(headway.track(recording(item).items, { name: 'delegated too' }))
  await unforgiving.next()
  await t.rejects(unforgiving.throw(wrong), wrong)

  const names = ['left', 'thrown', 'unclean', 'ended', 'failed', 'promises', 'delegated', 'delegated too']
  await waitFor(() => service.received.filter(({ call }) => /complete|fail/.test(call)).length === names.length)
  t.same(
    service.received.filter(({ call }) => call === 'POST /jobs').map(({ body }) => body['name']),
    names,
    'no job goes on living after its loop, and a loop that never began has none',
  )
})

t.test('a cancellation reaches a loop that waits for its next item', async t => {
  const never = () => new Promise(() => undefined)
  const stdin = new PassThrough()
  let isClosed = false
  async function* stuck() {
    try {
      yield 1
      await never()
    } finally {
      isClosed = true
    }
  }
  const wrong = new Error('unclean')
  const own = recording(call => (call > 1 ? never() : item(call)), never)
  const unclean = recording(
    call => (call > 1 ? never() : item(call)),
    () => Promise.reject(wrong),
  )
  const emitter = new EventEmitter()
  const events = on(emitter, 'x')
  emitter.emit('x', 1)
  const { writable, readable } = new TransformStream<number, number>()
  void writable.getWriter().write(1)
  const lines = new PassThrough()
  lines.write('1\n')
  const bare = {
    [Symbol.asyncIterator]: () => ({ next: (() => (bare.calls++ ? never() : item(1))) as never }),
    calls: 0,
  }
  const cases: Record<string, [items: () => unknown, end?: string]> = {
    'a generator': [stuck],
    'a stream': [() => stdin],
    lines: [() => createInterface({ input: lines })],
    events: [() => events],
    'a web stream': [() => readable],
    'a promise in a list': [() => [1, never()]],
    'a source that cannot be left': [() => bare],
    'a source that never cleans up': [() => own.items],
    'a source that fails to clean up': [() => unclean.items, 'POST fail'],
  }
  stdin.write('1')
  await Promise.all(
    Object.entries(cases).map(async ([name, [items, end = 'POST cancelled']]) => {
      const service = await startFakeService(t)
      let isWaiting = false
      service.script = (received, response) =>
        received.call === 'POST heartbeat'
          ? { body: heartbeatAnswer({ heartbeatIntervalMs: 50, cancelRequested: isWaiting }) }
          : goodAnswer(received, response)
      const tracked = connect(service).headway.track(items() as Trackable<unknown>, { name })
      await tracked.next()
      const waiting = tracked.next()
      isWaiting = true
      await t.rejects(waiting, end === 'POST fail' ? wrong : new StopError('cancel_requested'), name)
      t.match(await endOf(service), { call: end }, name)
      t.match(await tracked.next(), { done: true }, name)
    }),
  )
  t.ok(stdin.destroyed, 'a stream whose iterator waits is closed, as it is where a loop is left')
  t.equal(emitter.listenerCount('x'), 0)
  t.same([own.left, unclean.left], [['return'], ['return']])
  t.notOk(isClosed, 'what a generator waits for is its own')
})
