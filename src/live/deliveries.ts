import type { LiveDocument } from './change.ts'
import type { Directory } from './directory.ts'
import type { Feed } from './feed.ts'
import { encodeFrame, type StreamFormat } from './frames.ts'
import type { Log } from './log.ts'
import type { LiveStats } from './stats.ts'
import type { LoopTurns, Turn } from '../turns/loop-turns.ts'
import { PIECE_MS, Pieces } from '../turns/pieces.ts'

/** What a flush has read. */
export interface Reading {
  /** The jobs, by feed, with the revisions for which they were read. */
  due: Map<Feed, Map<string, number>>
  /** The documents of those that still exist. */
  documents: ReadonlyMap<string, LiveDocument>
  /** When the reading began, by `now`. */
  readAt: number
  /** The event id of a document. */
  idOf: (document: LiveDocument) => string
}

/** How much is written at a time, whichever comes first. */
interface Size {
  ms: number
  bytes: number
}

/** What a tenant's feeds get of a flush without a turn has at most so many bytes. */
const AT_ONCE_BYTES = 128 * 1024

/** What they get in one turn. */
const IN_TURN: Size = { ms: PIECE_MS, bytes: 512 * 1024 }

/** Node hands to the system at the end of a tick what was written in it. Only then the writes have taken their time. */
const IN_TICK = { writes: 8, bytes: 64 * 1024 }

const endOfTick = () => new Promise<void>(resolve => process.nextTick(resolve))

export interface DeliveriesOptions {
  directory: Directory
  stats: LiveStats
  loopTurns: Pick<LoopTurns, 'runPatiently'>
  log: Log
  now: () => number
  /** What a tenant's feeds get of a flush without a turn takes no longer. */
  atOnceMs: number
  /** A feed has no marks left. */
  onUnmarked: (feed: Feed) => void
  /** The feeds of a tenant have all that was read for them. */
  onDelivered: () => void
}

/**
 * Gives feeds and their subscribers what a flush has read. Many feeds, or many readers of one, take longer than others may wait:
 * what a tenant's feeds do not get at once, they get in turns of the event loop, beside everything else that takes long. Feeds of
 * other tenants are flushed meanwhile. A feed keeps its marks until its documents are delivered.
 */
export class Deliveries {
  readonly #options: DeliveriesOptions
  readonly #underWay = new Map<string, Promise<void>>()

  constructor(options: DeliveriesOptions) {
    this.#options = options
  }

  /** The delivery to a tenant that is under way. Meanwhile nothing newer is read for its feeds. */
  underWay(tenantId: string): Promise<void> | undefined {
    return this.#underWay.get(tenantId)
  }

  /** Resolves when each tenant has what it gets at once. */
  async begin(reading: Reading): Promise<void> {
    const { atOnceMs } = this.#options
    const pieces = new Pieces()
    for (const [tenantId, due] of byTenant(reading.due)) {
      const writes = this.#write({ ...reading, due })
      if (!(await this.#isDone(writes, { ms: atOnceMs, bytes: AT_ONCE_BYTES }))) this.#goOn(tenantId, writes)
      await endOfTick()
      if (pieces.isOver()) await pieces.next()
    }
  }

  #goOn(tenantId: string, writes: Iterator<number, number>): void {
    const { loopTurns, log, onDelivered } = this.#options
    const piece = (turn: Turn) => this.#isDone(writes, IN_TURN, turn)
    const deliver = async () => {
      while (!(await loopTurns.runPatiently({ tenantId, caller: null }, piece)));
    }
    const delivery = deliver()
      .catch((error: unknown) => log.error({ err: error }, 'a bug while changes were written to streams'))
      .finally(() => {
        this.#underWay.delete(tenantId)
        onDelivered()
      })
    this.#underWay.set(tenantId, delivery)
  }

  /** Writes so much, and once at least. Answers whether everything is written. */
  async #isDone(writes: Iterator<number, number>, most: Size, turn: Turn = { bytes: 0 }): Promise<boolean> {
    const { now } = this.#options
    const until = now() + most.ms
    const isOver = () => now() >= until || turn.bytes >= most.bytes
    do {
      let writesOfTick = 0
      const ofTick = turn.bytes + IN_TICK.bytes
      do {
        const { done, value } = writes.next()
        turn.bytes += value
        if (done) return true
        writesOfTick += 1
      } while (writesOfTick < IN_TICK.writes && turn.bytes < ofTick && !isOver())
      await endOfTick()
    } while (!isOver())
    return false
  }

  /** Pauses between two writes to subscribers, and yields how many bytes the one before the pause had. */
  *#write({ due, documents, readAt, idOf }: Reading): Generator<number, number, void> {
    const { directory, stats, now, onUnmarked } = this.#options
    const encode = this.#encoder(idOf)
    let written: number | null = null
    for (const [feed, jobs] of due) {
      // Its last reader has left meanwhile.
      if (feed.subscribers.size === 0) continue
      const { frames, send } = feed.accept(jobs, documents, { encode, readAt, now: now() })
      stats.frames += frames
      // Before others run: a hint that comes during the writes is for who wants the job, not for who might.
      for (const jobId of jobs.keys()) {
        const document = documents.get(jobId)
        if (document?.tenantId === feed.filter.tenantId) directory.learn(document, document.revision)
      }
      if (feed.marks.size === 0) onUnmarked(feed)
      for (const subscriber of feed.subscribers) {
        if (written !== null) yield written
        written = send(subscriber)
      }
    }
    return written ?? 0
  }

  /** Encodes each document once for all feeds that it is delivered to under one event name. */
  #encoder(idOf: Reading['idOf']) {
    const { stats } = this.#options
    const encoded = new Map<string, Buffer>()
    return (format: StreamFormat, name: string, document: LiveDocument): Buffer => {
      const key = `${format} ${name} ${document.id}`
      let frame = encoded.get(key)
      if (!frame) {
        frame = encodeFrame(format, name, idOf(document), document)
        encoded.set(key, frame)
        stats.serialisations++
      }
      return frame
    }
  }
}

const byTenant = (due: Reading['due']): Map<string, Reading['due']> => {
  const tenants = new Map<string, Reading['due']>()
  for (const [feed, jobs] of due) {
    const { tenantId } = feed.filter
    const ofTenant = tenants.get(tenantId) ?? new Map<Feed, Map<string, number>>()
    tenants.set(tenantId, ofTenant.set(feed, jobs))
  }
  return tenants
}
