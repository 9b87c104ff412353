import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'

export interface LiveJob {
  id: string
  status: string
  revision: number
  processedCount: number
}

interface Line {
  id: string
  /** Of a snapshot, or of one job. */
  data: { jobs: LiveJob[] } | LiveJob
}

const RECONNECT_MS = 50

/** A subscriber as clients are: it keeps the newest document of each job, and comes back with its last id when cut. */
export class StreamReader {
  readonly jobs = new Map<string, LiveJob>()
  connects = 0
  readonly #closed = new AbortController()
  readonly #running: Promise<void>
  #lastEventId = ''

  /** `url` is asked before each connect, so that a reader may move on to another replica. */
  constructor(url: () => string) {
    this.#running = this.#run(url)
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await this.#running
  }

  async #run(url: () => string): Promise<void> {
    while (!this.#closed.signal.aborted) {
      try {
        await this.#read(url())
      } catch {
        // Cut or refused: as at an ordinary end, it comes back.
      }
      await delay(RECONNECT_MS, undefined, { signal: this.#closed.signal }).catch(() => undefined)
    }
  }

  async #read(url: string): Promise<void> {
    const position = this.#lastEventId === '' ? '' : `?lastEventId=${this.#lastEventId}`
    const response = await fetch(`${url}/api/progress/stream${position}`, {
      headers: { accept: 'application/x-ndjson' },
      signal: this.#closed.signal,
    })
    if (response.status !== 200 || !response.body) return
    this.connects += 1
    let rest = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) if (line !== '') this.#take(JSON.parse(line) as Line)
    }
  }

  #take(line: Line): void {
    this.#lastEventId = line.id
    for (const job of 'jobs' in line.data ? line.data.jobs : [line.data]) this.jobs.set(job.id, job)
  }
}

/** Reads the stream of everything until the end of `t`. */
export const openStream = (t: Test, url: () => string): StreamReader => {
  const reader = new StreamReader(url)
  t.teardown(() => reader.close())
  return reader
}
