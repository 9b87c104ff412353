import type { ServerResponse } from 'node:http'
import type { LiveStats } from './stats.ts'

/** How much a subscriber that is behind is given at a time. More would wait in this process instead of in the feed. */
const CATCH_UP_BYTES = 64 * 1024

/** The source of a subscriber's frames: a feed. */
export interface FrameSource {
  /** The number of the last change. */
  readonly seq: number
  /** The frames after `seq`, oldest change first, one per job. */
  framesSince(seq: number): Iterable<{ seq: number; frame: Buffer }>
  /** Whether the job has finished for good, so that every subscriber that is up to date has seen it. */
  isOver(jobId: string): boolean
}

export interface SubscriberLimits {
  /** A reader that accepts nothing for this long is cut. */
  acceptMs: number
  /** A reader that has not been up to date for this long is cut. */
  levelMs: number
  /** An ended response that the client does not read is destroyed after this time. */
  endMs: number
}

export interface SubscriberOptions {
  feed: FrameSource
  /** The stream ends once this job has finished for good. */
  untilFinishedJobId: string | null
  /** Written when the stream's lifetime is over. */
  farewell: Buffer | null
  limits: SubscriberLimits
  stats: LiveStats
  now: () => number
  /** Called once, when nothing more will be written. */
  onGone: (subscriber: Subscriber) => void
}

/**
 * One open stream: a response, and the number of the change up to which it was written. It has no buffer of its own: frames
 * that a slow reader has not accepted stay in the feed, where newer states replace older ones.
 */
export class Subscriber {
  /** Changes up to this one were written, or are part of the snapshot that is being written. */
  seq: number
  readonly #options: SubscriberOptions
  #response: ServerResponse | null = null
  /** The part of the shared snapshot that has not been written yet. */
  #snapshot: Buffer | null = null
  #gone = false
  #blocked = false
  #behindSince: number | null = null
  #acceptedAt = 0
  #unaccepted = 0
  #lifetime: NodeJS.Timeout | undefined

  constructor(options: SubscriberOptions) {
    this.#options = options
    this.seq = options.feed.seq
  }

  /** Sets the snapshot with which the stream begins, and the last change that it contains. */
  prepare(snapshot: Buffer, seq: number): void {
    this.#snapshot = snapshot
    this.seq = seq
  }

  /** Begins to write: the greeting, the snapshot, then every change. */
  start(response: ServerResponse, greeting: Buffer | null, lifetimeMs: number): void {
    if (this.#gone) {
      response.end(greeting ?? undefined)
      return
    }
    this.#response = response
    response.on('drain', () => this.#accepted())
    response.once('close', () => this.leave())
    // A reader may leave between two writes; 'close' follows.
    response.on('error', () => this.leave())
    if (response.destroyed || response.writableEnded) {
      this.leave()
      return
    }
    this.#lifetime = setTimeout(() => void this.end(this.#options.farewell), Math.max(0, lifetimeMs)).unref()
    if (greeting) this.#write(greeting)
    this.#catchUp()
  }

  /**
   * Gives the frames of one flush to a subscriber that is up to date with `before`, and answers how many bytes were written. Any
   * other subscriber catches up: now, or when it drains.
   */
  deliver(frames: Buffer, before: number): number {
    if (!this.#response || this.#blocked || this.#gone || this.#snapshot) return 0
    if (this.seq !== before) {
      this.#catchUp()
      return 0
    }
    this.seq = this.#options.feed.seq
    this.#write(frames)
    this.endIfOver()
    return frames.length
  }

  keepAlive(comment: Buffer): void {
    if (this.#response && !this.#blocked && !this.#gone) this.#write(comment)
  }

  /** Cuts a reader that accepts too little. Called about every second. */
  check(now: number): void {
    if (this.#behindSince === null || !this.#response) return
    const unaccepted = this.#response.writableLength
    if (unaccepted < this.#unaccepted) this.#acceptedAt = now
    this.#unaccepted = unaccepted
    const { acceptMs, levelMs } = this.#options.limits
    if (now - this.#acceptedAt < acceptMs && now - this.#behindSince < levelMs) return
    this.#options.stats.cut++
    this.#response.destroy()
    this.leave()
  }

  /** Ends the stream; `farewell` is written if the reader still reads. Resolves when the response is closed. */
  end(farewell: Buffer | null): Promise<void> {
    const response = this.#response
    this.leave()
    if (!response || response.destroyed || response.writableEnded) return Promise.resolve()
    return new Promise(resolve => {
      const impatience = setTimeout(() => {
        response.destroy()
        resolve()
      }, this.#options.limits.endMs)
      response.once('close', () => {
        clearTimeout(impatience)
        resolve()
      })
      if (this.#blocked) response.destroy()
      else response.end(farewell ?? undefined)
    })
  }

  /** Stops writing, and leaves the response as it is. */
  leave(): void {
    if (this.#gone) return
    this.#gone = true
    this.#snapshot = null
    clearTimeout(this.#lifetime)
    this.#options.onGone(this)
  }

  #accepted(): void {
    this.#blocked = false
    this.#acceptedAt = this.#options.now()
    this.#catchUp()
  }

  #isLevel(): boolean {
    return this.#snapshot === null && this.seq === this.#options.feed.seq
  }

  #catchUp(): void {
    while (!this.#blocked && !this.#gone && !this.#isLevel()) this.#writeSome()
    if (this.#blocked || this.#gone) return
    this.#behindSince = null
    this.endIfOver()
  }

  /** Writes at most 64 KB of the missing frames, and stops when the socket is full. */
  #writeSome(): void {
    const { feed, stats } = this.#options
    if (this.#snapshot) {
      const part = this.#snapshot.subarray(0, CATCH_UP_BYTES)
      this.#snapshot = part.length < this.#snapshot.length ? this.#snapshot.subarray(CATCH_UP_BYTES) : null
      this.#write(part)
      return
    }
    stats.catchUps++
    const frames: Buffer[] = []
    let bytes = 0
    for (const { seq, frame } of feed.framesSince(this.seq)) {
      if (bytes > 0 && bytes + frame.length > CATCH_UP_BYTES) break
      bytes += frame.length
      frames.push(frame)
      this.seq = seq
    }
    // One write, not many between cork() and uncork(): after those, Node 22 never says 'drain' where the socket takes all at once.
    if (frames.length > 0) this.#write(Buffer.concat(frames, bytes))
    // Nothing left although the number differs: the newest changes were of jobs that are gone.
    if (bytes === 0) this.seq = feed.seq
  }

  #write(bytes: Buffer): void {
    const { stats, now } = this.#options
    stats.writes++
    stats.bytes += bytes.length
    if (this.#response?.write(bytes)) return
    if (!this.#blocked) {
      this.#blocked = true
      this.#acceptedAt = now()
      this.#behindSince ??= this.#acceptedAt
      this.#unaccepted = this.#response?.writableLength ?? 0
    }
  }

  /** Ends a stream of one job when the reader has seen the job finish. */
  endIfOver(): void {
    const { feed, untilFinishedJobId } = this.#options
    if (untilFinishedJobId === null || this.#gone || !this.#response || this.#blocked || !this.#isLevel()) return
    if (feed.isOver(untilFinishedJobId)) void this.end(null)
  }
}
