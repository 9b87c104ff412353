import type { JobDocument } from '../../src/contract/job.ts'
import type { JobStatus, Lifecycle } from '../../src/contract/states.ts'

/** A model of a batch, written from the rules of partitions and batches and not from the SQL. */

export type Step =
  | { do: 'make'; index: number | null; totalCount: number | null }
  | {
      do: 'heartbeat'
      place: number
      body: { processedCount?: number; totalCount?: number | null; unit?: 'rows' | 'files' }
    }
  | { do: 'start' | 'complete' | 'fail' | 'cancel' | 'cancelled' | 'retry'; place: number | 'batch' }
  /** Silent for so many seconds, as a sweep then sees it. */
  | { do: 'sweep'; place: number; seconds: 31 | 61 }

type Outcome = { status: 200 | 201 } | { status: 404 | 409 | 422; code: string }

const OK: Outcome = { status: 200 }
const refused = (code: string): Outcome => ({ status: 409, code })

interface Partition {
  index: number
  status: JobStatus
  stale: boolean
  stalled: boolean
  asked: boolean
  attempt: number
  silentSeconds: number
}

const hasFinished = (status: JobStatus): boolean => ['completed', 'failed', 'cancelled'].includes(status)

export class BatchModel {
  readonly count: number
  readonly cancellable: boolean
  readonly partitions: Partition[] = []
  status: JobStatus = 'pending'
  attempt = 1
  asked = false
  percent = 0
  total: number | null = null
  stalled = false
  readonly history: Lifecycle[] = ['created']

  constructor(count: number, cancellable: boolean) {
    this.count = count
    this.cancellable = cancellable
  }

  add(index: number): void {
    this.partitions.push({
      index,
      status: 'pending',
      stale: false,
      stalled: false,
      asked: false,
      attempt: 1,
      silentSeconds: 0,
    })
  }

  get finished(): boolean {
    return hasFinished(this.status)
  }

  /** Carries a step out; `observe` has the rest. */
  take(step: Step): Outcome {
    switch (step.do) {
      case 'make':
        return this.#make(step.index)
      case 'sweep':
        return this.#sweep(step)
      case 'heartbeat':
        return this.#heartbeat(this.partitions[step.place]!)
      default:
        return step.place === 'batch'
          ? this.#commandBatch(step.do)
          : this.#command(this.partitions[step.place]!, step.do)
    }
  }

  #make(index: number | null): Outcome {
    if (this.finished || this.asked) return refused('parent_finished')
    const taken = this.partitions.map(partition => partition.index)
    const free = Array.from({ length: this.count }, (_, place) => place).find(place => !taken.includes(place))
    const place = index ?? free
    if (place === undefined || place >= this.count || taken.includes(place))
      return { status: 422, code: 'invalid_partition' }
    this.add(place)
    return { status: 201 }
  }

  /** Of 31 seconds the half that marks the stalled, of 61 the one that ends the stale. */
  #sweep({ place, seconds }: { place: number; seconds: number }): Outcome {
    const running = this.partitions.filter(({ status }) => status === 'running')
    const silent = this.partitions[place]!
    if (silent.status === 'running') silent.silentSeconds = seconds
    for (const partition of running) {
      if (seconds === 61 && partition.silentSeconds === 61) {
        Object.assign(partition, {
          status: partition.asked ? 'cancelled' : 'failed',
          stale: !partition.asked,
          stalled: false,
        })
      }
      if (seconds === 31 && partition.silentSeconds >= 31) partition.stalled = true
    }
    return OK
  }

  #heartbeat(partition: Partition): Outcome {
    if (hasFinished(partition.status) && !partition.stale) return refused('already_finished')
    if (partition.stale) partition.asked = this.asked
    Object.assign(partition, { status: 'running', stale: false, stalled: false, silentSeconds: 0 })
    return OK
  }

  #command(partition: Partition, command: string): Outcome {
    const { status, stale, asked } = partition
    const isOver = hasFinished(status) && !stale
    const end = (as: JobStatus): Outcome => {
      Object.assign(partition, { status: as, stale: false, stalled: false })
      return OK
    }
    switch (command) {
      case 'start':
        if (status === 'running') return OK
        return hasFinished(status) ? refused('already_finished') : this.#heartbeat(partition)
      case 'complete':
        return status === 'completed' || !isOver ? end('completed') : refused('already_finished')
      case 'fail':
        return (status === 'failed' && !stale) || !isOver ? end('failed') : refused('already_finished')
      case 'cancel':
        if (status === 'cancelled' || (status === 'running' && asked)) return OK
        if (hasFinished(status)) return refused('already_finished')
        if (!this.cancellable) return refused('not_cancellable')
        partition.asked = true
        return status === 'pending' ? end('cancelled') : OK
      case 'cancelled':
        if (status === 'cancelled') return OK
        if (isOver) return refused('already_finished')
        if (!this.cancellable && !asked) return refused('not_cancellable')
        partition.asked = true
        return end('cancelled')
      default:
        if (status === 'completed') return refused('already_finished')
        if (status === 'pending' && partition.attempt > 1) return OK
        if (!hasFinished(status) || (this.asked && !this.finished)) return refused('not_retryable')
        Object.assign(partition, { attempt: partition.attempt + 1, asked: false, silentSeconds: 0 })
        return end('pending')
    }
  }

  #commandBatch(command: string): Outcome {
    if (command === 'cancel') {
      // After a cancel the batch may have ended as failed, because of earlier failures of partitions. The same call again is no error.
      if (this.status === 'cancelled' || this.asked) return OK
      if (this.finished) return refused('already_finished')
      if (!this.cancellable) return refused('not_cancellable')
      for (const partition of this.partitions) this.#command(partition, 'cancel')
      return OK
    }
    if (command === 'retry') {
      if (this.status === 'completed') return refused('already_finished')
      if (this.status === 'pending' && this.attempt > 1) return OK
      if (!this.finished) return refused('not_retryable')
      for (const partition of this.partitions) if (partition.status !== 'completed') this.#command(partition, 'retry')
      return OK
    }
    return refused('is_batch')
  }

  /**
   * What the batch is after a step that was not refused and did change something, from its partitions as they are now.
   * Answers the fields of its document.
   */
  observe(step: Step, changed: boolean, partitions: JobDocument[]): Partial<JobDocument> {
    if (changed) this.#rollUp(step, partitions)
    const of = (status: JobStatus) => partitions.filter(partition => partition.status === status)
    const failed = of('failed').sort((a, b) => ((a.finishedAt ?? '') < (b.finishedAt ?? '') ? -1 : 1))
    const units = new Set(partitions.map(({ unit }) => unit).filter(unit => unit !== 'unknown'))
    const agree = units.size <= 1
    return {
      status: this.status,
      attempt: this.attempt,
      progressPercent: this.percent,
      totalCount: this.total,
      processedCount: agree ? sum(partitions.map(({ processedCount }) => processedCount)) : 0,
      unit: agree ? ([...units][0] ?? 'unknown') : 'unknown',
      liveness: this.status === 'running' ? (this.stalled ? 'stalled' : 'ok') : null,
      failureReason: this.status === 'failed' ? 'partitions' : null,
      errorMessage: this.status === 'failed' ? `${failed.length} of ${this.count} partitions failed` : null,
      children: {
        total: this.count,
        pending: of('pending').length,
        running: of('running').length,
        stalled: partitions.filter(({ liveness }) => liveness === 'stalled').length,
        completed: of('completed').length,
        failed: failed.length,
        cancelled: of('cancelled').length,
        current: of('running').map(({ name }) => name),
        errors: failed.map(({ name, errorMessage }) => `${name}: ${errorMessage ?? ''}`),
        failures: failed.map(({ id, name, failureReason }) => ({ id, name, failureReason })),
      },
    }
  }

  #rollUp(step: Step, partitions: JobDocument[]): void {
    const command = 'place' in step && step.place === 'batch' ? step.do : null
    const was = { status: this.status, finished: this.finished, stalled: this.stalled, total: this.total }
    if (command === 'cancel') this.asked = true
    if (command === 'retry')
      Object.assign(this, { attempt: this.attempt + 1, status: 'pending', asked: false, percent: 0, total: null })
    if (step.do === 'retry' && was.finished) this.asked = false

    const ended = partitions.filter(({ status }) => hasFinished(status))
    const completed = ended.filter(({ status }) => status === 'completed')
    if (ended.length === this.count || (this.asked && ended.length === partitions.length)) {
      if (completed.length === this.count) this.status = 'completed'
      else this.status = ended.some(({ status }) => status === 'failed') ? 'failed' : 'cancelled'
    } else if (this.status !== 'pending' || partitions.some(({ status }) => status === 'running'))
      this.status = 'running'
    else if (step.do === 'complete' || step.do === 'fail') this.status = 'running'
    this.stalled = this.status === 'running' && partitions.some(({ liveness }) => liveness === 'stalled')
    this.#note(step, command, was)

    const units = new Set(partitions.map(({ unit }) => unit).filter(unit => unit !== 'unknown'))
    const totals = partitions.map(({ status, totalCount, processedCount }) =>
      status === 'completed' ? (totalCount ?? processedCount) : totalCount,
    )
    const known = totals.filter(total => total !== null)
    this.total = units.size <= 1 && known.length === this.count ? sum(known) : null
    const done = sum(
      partitions.map(({ status, processedCount }, place) =>
        status === 'completed' ? (totals[place] ?? 0) : processedCount,
      ),
    )
    const mean = sum(partitions.map(({ progressPercent }) => progressPercent)) / this.count
    const computed = Math.min(99, Math.floor(this.total !== null && this.total > 0 ? (100 * done) / this.total : mean))
    const mayFall = step.do === 'retry' || was.finished || this.total !== null
    this.percent = this.status === 'completed' ? 100 : mayFall ? computed : Math.max(this.percent, computed)
  }

  #note(step: Step, command: string | null, was: { status: JobStatus; finished: boolean; stalled: boolean }): void {
    if (this.finished) {
      if (this.status !== was.status) this.history.push(this.status as Lifecycle)
    } else if (command === 'retry') this.history.push('retried')
    else if (was.finished) this.history.push('recovered')
    else if (command === 'cancel') this.history.push('cancel_requested')
    else if (was.status === 'pending' && this.status === 'running') this.history.push('started')
    else if (this.stalled && !was.stalled) this.history.push('stalled')
    else if (!this.stalled && was.stalled && step.do === 'heartbeat') this.history.push('recovered')
  }
}

const sum = (numbers: number[]): number => numbers.reduce((total, number) => total + number, 0)
