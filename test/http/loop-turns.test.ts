import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import t from 'tap'
import { LoopTurns } from '../../src/turns/loop-turns.ts'
import { readInTurns } from '../../src/http/read-in-turns.ts'
import { createSharedRead } from '../../src/http/shared-reads.ts'
import { startService } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'

const GREEDY = { tenantId: 'greedy', caller: 'someone' }
const MODEST = { tenantId: 'modest', caller: 'someone' }

t.test('between two pieces of work the event loop serves other requests', async t => {
  const turns = new LoopTurns()
  const order: string[] = []
  const pieces = [1, 2, 3].map(piece => turns.run(GREEDY, () => order.push(`piece ${piece}`)))
  setImmediate(() => order.push('a socket'))
  await Promise.all(pieces)
  t.same(order, ['piece 1', 'a socket', 'piece 2', 'piece 3'])
})

t.test('tenants take turns with their pieces, and so do the identities of a tenant', async t => {
  const turns = new LoopTurns()
  const order: string[] = []
  const parties = [GREEDY, GREEDY, GREEDY, { ...GREEDY, caller: 'another' }, MODEST]
  const names = ['first', 'second', 'third', 'of another', 'modest']
  await Promise.all(parties.map((party, n) => turns.run(party, () => order.push(names[n] ?? ''))))
  t.equal(order.indexOf('modest'), 1, 'a tenant that comes last waits for one piece')
  t.ok(order.indexOf('of another') < order.indexOf('third'), 'and an identity for one of each other one')
})

t.test(
  'while other tenants call, a rest four times as long follows each piece of work, and a tenant that calls alone has no rest',
  async t => {
    const turns = new LoopTurns()
    const ended: number[] = []
    const begun: number[] = []
    const work = () => {
      begun.push(performance.now())
      for (const until = performance.now() + 30; performance.now() < until;);
      ended.push(performance.now())
    }
    const restAfter = async () => {
      await Promise.all([turns.run(GREEDY, work), turns.run(GREEDY, work)])
      return begun.at(-1)! - ended.at(-2)!
    }
    turns.saw(MODEST.tenantId)
    // A timer may be early by a millisecond, and never more.
    t.ok((await restAfter()) >= 118, 'another one calls')
    t.ok((await restAfter()) >= 118, 'and has called lately')
  },
)

t.test(
  'while other tenants call, a rest of a second follows each 32 MB of bodies that were read, however fast that was',
  async t => {
    const turns = new LoopTurns()
    const restAfter = async (bytes: number) => {
      let ended = 0
      const read = turns.run(GREEDY, turn => {
        turn.bytes = bytes
        ended = performance.now()
      })
      const next = turns.run(GREEDY, () => performance.now() - ended)
      await read
      return next
    }
    turns.saw(MODEST.tenantId)
    // A timer may be early by a millisecond, and never more.
    t.ok((await restAfter(4 * 1024 * 1024)) >= 124)
    t.ok((await restAfter(1024 * 1024)) >= 30)
    const arrived = new Readable({ read: () => undefined })
    arrived.push(Buffer.alloc(3 * 1024 * 1024))
    const read = new Promise(resolve => {
      const options = { loopTurns: turns, take: resolve, fail: (error: Error) => t.error(error) }
      readInTurns(arrived, GREEDY, options)
    })
    await read
    const readAt = performance.now()
    t.ok((await turns.run(GREEDY, () => performance.now() - readAt)) >= 92, 'a stream tells what it has read')
  },
)

t.test('callers who share a read are answered fifty at a time, all but the first fifty in turns', async t => {
  const groups: number[] = []
  let answered = 0
  const inTurns: Pick<LoopTurns, 'runPatiently'> = {
    runPatiently: async (party, work) => {
      t.equal(party.tenantId, GREEDY.tenantId)
      groups.push(answered)
      return work({ bytes: 0 })
    },
  }
  const sharedRead = createSharedRead(inTurns)
  const ask = () => sharedRead(GREEDY, 'key', async () => 'read once').then(() => (answered += 1))
  await Promise.all(Array.from({ length: 180 }, ask))
  t.equal(answered, 180)
  t.same(groups, [50, 100, 150], 'the first group needs no turn')
})

t.test('if no turn comes in time, work is refused, or waits on if nobody could ask for it again', async t => {
  const turns = new LoopTurns({ patienceMs: 1 })
  let end: () => void = () => undefined
  const busy = turns.run(GREEDY, () => new Promise<void>(resolve => (end = resolve)))
  let done = false
  const patient = turns.runPatiently(MODEST, () => (done = true))
  const refused = () => t.fail('this has had no turn')
  for (let n = 0; n < 3; n += 1) await t.rejects(turns.run(MODEST, refused), { code: 'overloaded' })
  t.notOk(done)
  end()
  await busy
  t.ok(await patient)
  const broken = () => Promise.reject(new Error('broken'))
  await t.rejects(turns.runPatiently(MODEST, broken), { message: 'broken' })
  t.equal(await turns.run(MODEST, () => 'goes on'), 'goes on')
})

t.test('a long list is processed in pieces and in order, and a failed piece ends its turn', async t => {
  const turns = new LoopTurns()
  const numbers = Array.from({ length: 2_000 }, (_, n) => n)
  let served = 0
  let going = true
  const serve = () => {
    served += 1
    if (going) setImmediate(serve)
  }
  setImmediate(serve)
  const results = await turns.map(GREEDY, numbers, (number, index) => {
    for (const until = performance.now() + 0.05; performance.now() < until;);
    return [number, index]
  })
  going = false
  t.same(
    results,
    numbers.map(number => [number, number]),
  )
  t.ok(served > 10, 'the loop went on')
  const broken = turns.map(GREEDY, numbers, number => {
    if (number === 1_000) throw new Error('broken')
  })
  await t.rejects(broken, { message: 'broken' })
  t.equal(await turns.run(MODEST, () => 'goes on'), 'goes on')
})

t.test(
  'the arrived part of a body is read whatever number of bytes one read gives, and takes several turns if it is long',
  async t => {
    for (const takesMs of [0, 5]) {
      const order: string[] = []
      const pieces = ['first', 'second', 'third']
      // A read of such a stream gives one piece on every Node.
      const stream = new Readable({ objectMode: true, read: () => undefined })
      for (const piece of pieces) stream.push(Buffer.from(piece))
      const take = (piece: Buffer) => {
        order.push(piece.toString())
        for (const until = performance.now() + takesMs; performance.now() < until;);
        if (order.length >= pieces.length) stream.push(null)
      }
      readInTurns(stream, GREEDY, { loopTurns: new LoopTurns(), take, fail: error => t.error(error) })
      setImmediate(() => order.push('a socket'))
      await once(stream, 'end')
      t.same(
        order.filter(entry => entry !== 'a socket'),
        pieces,
      )
      if (takesMs > 0) t.equal(order[1], 'a socket', 'a turn ends when its time is up')
    }
  },
)

t.test(
  'a long body is read whole in pieces of any size, and a body that ends too early is refused or dropped',
  async t => {
    const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
    const token = await mint({ tenant_id: '7d6c1a52-98a5-4c63-9f3e-a3b0b1b3c001', features: ['progress.*'] })
    const { port } = new URL(service.url)
    const send = async (write: (socket: ReturnType<typeof connect>) => Promise<void> | void) => {
      const socket = connect(Number(port), '127.0.0.1')
      let answer = ''
      socket.setEncoding('utf8').on('data', (text: string) => (answer += text))
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      const closed = once(socket, 'close')
      await write(socket)
      await closed
      return answer
    }
    const head = (length: string) =>
      `POST /api/progress/jobs HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: Bearer ${token}\r\n` +
      `connection: close\r\ncontent-type: application/json\r\n${length}\r\n\r\n`
    const body = JSON.stringify({
      jobType: 'import',
      name: 'long',
      description: 'é'.repeat(900),
      meta: { text: 'x'.repeat(14_000) },
    })
    const padded = Buffer.from(body + ' '.repeat(100_000))
    const pause = () => new Promise(resolve => setImmediate(resolve))

    const inPieces = await send(async socket => {
      socket.setNoDelay().write(head(`content-length: ${padded.length}`))
      for (let from = 0; from < padded.length; from += 997) {
        socket.write(padded.subarray(from, from + 997))
        if (from % 10 === 0) await pause()
      }
    })
    t.match(inPieces, /^HTTP\/1\.1 201 /)
    const chunked = await send(socket => {
      socket.write(head('transfer-encoding: chunked'))
      for (const byte of Buffer.from(body)) socket.write(Buffer.from([0x31, 13, 10, byte, 13, 10]))
      socket.write('0\r\n\r\n')
    })
    t.match(chunked, /^HTTP\/1\.1 201 /, 'a byte at a time')
    const atOnce = await send(
      socket => void socket.write(Buffer.concat([Buffer.from(head(`content-length: ${padded.length}`)), padded])),
    )
    t.match(atOnce, /^HTTP\/1\.1 201 /)
    const short = await send(socket => {
      socket.end(Buffer.concat([Buffer.from(head(`content-length: ${padded.length}`)), padded.subarray(0, 50_000)]))
    })
    t.match(short, /^$|^HTTP\/1\.1 400 /)
    const tooLong = await send(socket => {
      socket.write(head('transfer-encoding: chunked'))
      const chunk = Buffer.alloc(64 * 1024, ' ')
      for (let n = 0; n < 10; n += 1)
        socket.write(Buffer.concat([Buffer.from('10000\r\n'), chunk, Buffer.from('\r\n')]))
      socket.write('0\r\n\r\n')
    })
    t.match(tooLong, /^HTTP\/1\.1 413 /, 'the refusal reaches a client that goes on sending')
  },
)
