import type { LiveDocument } from './change.ts'
import type { Directory } from './directory.ts'
import type { Feed } from './feed.ts'
import { encodeFrame, type StreamFormat } from './frames.ts'
import type { Log } from './log.ts'
import type { LiveStats } from './stats.ts'
import type { LoopTurns, Turn } from '../turns/loop-turns.ts'
import { PIECE_MS, Pieces } from '../turns/pieces.ts'

/** The jobs that a flush has read, by feed, with the revisions for which they were read. */
export type Due = Map<Feed, Map<string, number>>

/** What a tenant's feeds get of a flush takes no turn for so long (ms): most tenants have few readers. */
const AT_ONCE_MS = PIECE_MS / 4

export interface DeliveriesOptions {
  directory: Directory
  stats: LiveStats
  loopTurns: Pick<LoopTurns, 'runAtLast'>
  log: Log
  now: () => number
  /** The event id of a document that is sent now. */
  eventIdOf: (document: LiveDocument) => string
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

  /** The delivery to a tenant that is under way. Its feeds must get nothing newer before it has ended. */
  underWay(tenantId: string): Promise<void> | undefined {
    return this.#underWay.get(tenantId)
  }

  /** Resolves when each tenant has what it gets at once. */
  async begin(due: Due, read: ReadonlyMap<string, LiveDocument>): Promise<void> {
    const pieces = new Pieces()
    for (const [tenantId, ofTenant] of byTenant(due)) {
      const writes = this.#write(ofTenant, read)
      if (!this.#isDone(writes, AT_ONCE_MS)) this.#goOn(tenantId, writes)
      if (pieces.isOver()) await pieces.next()
    }
  }

  #goOn(tenantId: string, writes: Iterator<number, number>): void {
    const { loopTurns, log, onDelivered } = this.#options
    const piece = (turn: Turn) => this.#isDone(writes, PIECE_MS, turn)
    const deliver = async () => {
      while (!(await loopTurns.runAtLast({ tenantId, caller: null }, piece)));
    }
    const delivery = deliver()
      .catch((error: unknown) => log.error({ err: error }, 'a bug while changes were written to streams'))
      .finally(() => {
        this.#underWay.delete(tenantId)
        onDelivered()
      })
    this.#underWay.set(tenantId, delivery)
  }

  /** Writes for so many milliseconds, and once at least. Answers whether everything is written. */
  #isDone(writes: Iterator<number, number>, forMs: number, turn: Turn = { bytes: 0 }): boolean {
    const { now } = this.#options
    for (const until = now() + forMs; ;) {
      const { done, value } = writes.next()
      turn.bytes += value
      if (done) return true
      if (now() >= until) return false
    }
  }

  /** Pauses between two writes to subscribers, and yields how many bytes the one before the pause had. */
  *#write(due: Due, read: ReadonlyMap<string, LiveDocument>): Generator<number, number, void> {
    const { directory, stats, now, onUnmarked } = this.#options
    const encode = this.#encoder()
    let written: number | null = null
    for (const [feed, jobs] of due) {
      // Its last reader has left meanwhile.
      if (feed.subscribers.size === 0) continue
      const { frames, bytes, send } = feed.accept(jobs, read, encode, now())
      stats.frames += frames
      // Before others run: a hint that comes during the writes is for who wants the job, not for who might.
      for (const jobId of jobs.keys()) {
        const document = read.get(jobId)
        if (document?.tenantId === feed.filter.tenantId) directory.learn(document, document.revision)
      }
      if (feed.marks.size === 0) onUnmarked(feed)
      for (const subscriber of feed.subscribers) {
        if (written !== null) yield written
        send(subscriber)
        written = bytes
      }
    }
    return written ?? 0
  }

  /** Encodes each document once for all feeds that it is delivered to under one event name. */
  #encoder() {
    const { stats, eventIdOf } = this.#options
    const encoded = new Map<string, Buffer>()
    return (format: StreamFormat, name: string, document: LiveDocument): Buffer => {
      const key = `${format} ${name} ${document.id}`
      let frame = encoded.get(key)
      if (!frame) {
        frame = encodeFrame(format, name, eventIdOf(document), document)
        encoded.set(key, frame)
        stats.serialisations++
      }
      return frame
    }
  }
}

const byTenant = (due: Due): Map<string, Due> => {
  const tenants = new Map<string, Due>()
  for (const [feed, jobs] of due) {
    const { tenantId } = feed.filter
    const ofTenant = tenants.get(tenantId) ?? new Map<Feed, Map<string, number>>()
    tenants.set(tenantId, ofTenant.set(feed, jobs))
  }
  return tenants
}
