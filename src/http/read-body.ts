import type { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'
import { holderOf, partyOf } from './answers-in-flight.ts'
import type { Holding, InFlight } from './limits/in-flight.ts'
import type { LoopTurns } from '../turns/loop-turns.ts'
import { readInTurns } from './read-in-turns.ts'

const SMALLEST_BLOCK = 1024
const LARGEST_BLOCK = 256 * 1024

/**
 * The part of a body that has arrived, copied into blocks of its own. Node hands over each chunk of HTTP as a part of the
 * buffer that it was read into. If these were kept, a body in chunks of one byte would take a hundred times its length. A block
 * is as long as all blocks before it, so at most twice the body's length is held. The length of the blocks is what counts as in
 * flight.
 */
class Blocks {
  length = 0
  readonly #blocks: Buffer[] = []
  readonly #holding: Holding
  /** Free bytes of the last block. */
  #free = 0

  constructor(holding: Holding) {
    this.#holding = holding
  }

  /** `expected` is how many bytes may still come, this chunk included. Raises what the holding raises. */
  append(chunk: Buffer, expected: number): void {
    let from = 0
    while (from < chunk.length) {
      if (this.#free === 0) this.#addBlock(expected - from)
      const block = this.#blocks.at(-1)
      if (!block) return
      const copied = chunk.copy(block, block.length - this.#free, from)
      this.#free -= copied
      from += copied
    }
    this.length += chunk.length
  }

  whole(): Buffer {
    const [first] = this.#blocks
    if (first && this.#blocks.length === 1) return first.subarray(0, this.length)
    return Buffer.concat(this.#blocks, this.length)
  }

  #addBlock(expected: number): void {
    const size = Math.min(Math.max(this.length, SMALLEST_BLOCK), LARGEST_BLOCK, expected)
    this.#holding.take(size)
    this.#blocks.push(Buffer.allocUnsafeSlow(size))
    this.#free = size
  }
}

type Done = (...result: [error: Error, body: null] | [error: null, body: Buffer]) => void

/** A body that may be longer than this is read in turns. */
export const SHORT_BODY = 16 * 1024

const tooLarge = (limit: number) =>
  new HeadwayError('payload_too_large', `The body may have at most ${limit / 1024} KB here: send less at once.`)

/**
 * Reads the body of a request and counts it as in flight for its caller. Raises `payload_too_large`, and `too_much_in_flight`
 * or `overloaded` if there is no room for it. The server limits how long it may take. A body that may be long is read piece by
 * piece, each piece in its caller's turn. The rest waits at the client meanwhile.
 */
export const readBody = (
  request: FastifyRequest,
  payload: Readable,
  { inFlight, loopTurns }: { inFlight: InFlight; loopTurns: LoopTurns },
  done: Done,
): void => {
  const limit = request.routeOptions.bodyLimit
  const { 'content-length': lengthHeader } = request.headers
  const announced = lengthHeader === undefined ? null : Number(lengthHeader)
  if (announced !== null && announced > limit) {
    done(tooLarge(limit), null)
    return
  }
  const holder = holderOf(request)
  const holding = inFlight.open(holder, 'body', refusal => fail(refusal))
  // One byte more than the limit, so that a body that is too large is recognised.
  const atMost = announced ?? limit + 1
  const blocks = new Blocks(holding)
  /** The body, if it came in one piece, as nearly all do: it need not be copied. */
  let piece: Buffer | null = null
  let ended = false
  let stopTurns: () => void = () => undefined

  const stop = () => {
    ended = true
    payload.off('data', onData)
    stopTurns()
    payload.off('end', onEnd)
    payload.off('error', fail)
    payload.off('close', onClose)
  }
  const fail = (error: Error) => {
    if (ended) return
    stop()
    holding.release()
    done(error, null)
  }
  const take = (chunk: Buffer) => {
    if (chunk.length === announced) {
      holding.take(chunk.length)
      piece = chunk
      return
    }
    if (blocks.length + chunk.length > limit) throw tooLarge(limit)
    blocks.append(chunk, atMost - blocks.length)
  }
  const onData = (chunk: Buffer) => {
    try {
      take(chunk)
    } catch (error) {
      fail(error as Error)
    }
  }
  const onEnd = () => {
    stop()
    holding.settle()
    request.bodyHolding = holding
    done(null, piece ?? blocks.whole())
  }
  const onClose = () => fail(new HeadwayError('validation_failed', 'The body ended too early.'))
  if (atMost <= SHORT_BODY) payload.on('data', onData)
  else stopTurns = readInTurns(payload, partyOf(holder), { loopTurns, take, fail })
  payload.on('end', onEnd)
  // The stream needs a listener for as long as it may fail: without one, an error would end the process.
  payload.on('error', fail)
  payload.on('close', onClose)
}
