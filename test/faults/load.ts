import { setTimeout as delay } from 'node:timers/promises'
import { beat, increment } from './calls.ts'

const CONNECTIONS = 8
/** Between two reports of a connection: enough of them, and not all that the machine can do. */
const PAUSE_MS = 10

const add = (sums: Map<string, number>, key: string, by: number) => sums.set(key, (sums.get(key) ?? 0) + by)

/** Workers that report without an end, and the answers that they got, to be compared with the stored counts. */
export class Load {
  /** `job/worker` → highest absolute count that was answered 200, and highest that was answered 202. */
  readonly #durable = new Map<string, number>()
  readonly #buffered = new Map<string, number>()
  /** `job/worker` → sum of the increments answered 200, of those answered 202, and of those whose outcome nobody told. */
  readonly #added = new Map<string, number>()
  readonly #kept = new Map<string, number>()
  readonly #unknown = new Map<string, number>()
  /** By code; `reset` where there was no answer. */
  readonly refusals = new Map<string, number>()
  /** Reports that were answered 200, and 202. */
  answers = 0
  bufferedAnswers = 0
  #ended = true
  #running: Promise<unknown> = Promise.resolve()
  readonly #turns = Array.from({ length: CONNECTIONS }, (_, connection) => connection * 7)
  readonly #jobIds: string[]
  readonly #url: (turn: number) => string

  /** `url` is asked before each report. */
  constructor(jobIds: string[], url: (turn: number) => string) {
    this.#jobIds = jobIds
    this.#url = url
  }

  start(): void {
    this.#ended = false
    this.#running = Promise.all(this.#turns.map((_, connection) => this.#run(connection)))
  }

  /** Resolves when the last report has its answer. */
  async end(): Promise<void> {
    this.#ended = true
    await this.#running
  }

  /**
   * What is stored and should not be, and the other way round, one sentence each. `keptAll`: nothing that was answered 202
   * may be missing either.
   */
  compare(stored: Map<string, number>, { keptAll }: { keptAll: boolean }): string[] {
    const counts = [...this.#durable, ...(keptAll ? this.#buffered : [])]
      .filter(([row, count]) => (stored.get(row) ?? 0) < count)
      .map(([row, count]) => `${row}: ${count} was acknowledged, ${stored.get(row) ?? 'nothing'} is stored`)
    const sums = [...new Set([...this.#added.keys(), ...this.#kept.keys(), ...this.#unknown.keys()])].flatMap(row => {
      const kept = this.#kept.get(row) ?? 0
      const least = (this.#added.get(row) ?? 0) + (keptAll ? kept : 0)
      const most = (this.#added.get(row) ?? 0) + kept + (this.#unknown.get(row) ?? 0)
      const count = stored.get(row) ?? 0
      return count < least || count > most ? [`${row}: ${least} to ${most} were added, ${count} are stored`] : []
    })
    return [...counts, ...sums]
  }

  /** Each connection walks over all jobs, so that no job is silent, and over the replicas. */
  async #run(connection: number): Promise<void> {
    while (!this.#ended) {
      const turn = this.#turns[connection]!++
      const jobId = this.#jobIds[turn % this.#jobIds.length]!
      if (turn % 3 === 0) await this.#increment(turn, jobId, `adds-${connection}`)
      else await this.#report(turn, jobId, `counts-${connection}`)
      await delay(PAUSE_MS)
    }
  }

  async #report(turn: number, jobId: string, workerId: string): Promise<void> {
    const row = `${jobId}/${workerId}`
    try {
      const { status, body } = await beat(this.#url(turn), jobId, { workerId, processedCount: turn })
      if (status === 200) this.#durable.set(row, turn)
      else if (status === 202) this.#buffered.set(row, turn)
      this.#note(status, body.code)
    } catch {
      this.#note(0, 'reset')
    }
  }

  async #increment(turn: number, jobId: string, workerId: string): Promise<void> {
    const row = `${jobId}/${workerId}`
    const by = 1 + (turn % 5)
    try {
      const { status, body } = await increment(this.#url(turn), jobId, { workerId, increment: by })
      if (status === 200) add(this.#added, row, by)
      else if (status === 202) add(this.#kept, row, by)
      else if (body.code === 'outcome_unknown') add(this.#unknown, row, by)
      this.#note(status, body.code)
    } catch {
      add(this.#unknown, row, by)
      this.#note(0, 'reset')
    }
  }

  #note(status: number, code: string): void {
    if (status === 200) this.answers += 1
    else if (status === 202) this.bufferedAnswers += 1
    else add(this.refusals, code, 1)
  }
}
