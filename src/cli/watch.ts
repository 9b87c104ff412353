import type { Command } from 'commander'
import { RefusedError } from '../node-client/client.ts'
import { follow, type Follower } from '../node-client/follow.ts'
import type { WireJob } from '../contract/live-job.ts'
import { bar } from '../terminal/bar.ts'
import { currentOf, factsOf, outcomeOf, plainLine, stateOf } from '../terminal/job.ts'
import { isFinished } from '../contract/states.ts'
import { paint, piece, STATE_STYLES } from '../terminal/paint.ts'
import { startScreen, type Paper, type Picture } from '../terminal/screen.ts'
import { padded, printable, shorten, widthOf } from '../terminal/text.ts'
import { connect, withConnection, type ConnectionOptions } from './connection.ts'
import { codeOf, EXIT_CODES_HELP } from './exit-codes.ts'
import type { Surroundings } from './surroundings.ts'

interface WatchOptions extends ConnectionOptions {
  type?: string
}

interface Shown {
  job: WireJob
  /** By this machine's clock: the job's estimate is as old as that. */
  receivedAtMs: number
}

const EXAMPLES = `
In a terminal it draws bars, elsewhere it writes lines. Without ids it shows what runs, until Ctrl-C. A batch that is named
unfolds: what runs and waits stands below it, and what has failed.

Examples:
  headway watch
  headway watch --type import
  headway watch 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55 && deploy
`

const NOT_CONNECTED = 'There is no connection to the service; trying again.'

/** The indentation of partitions below their batch. */
const MARGIN = '  '

const NAME_WIDTH = 28
const WIDEST_BAR = 30
const NARROWEST_BAR = 5
/** The least room beside name and bar: for the percent, the state, and a fact or two. */
const FACTS_WIDTH = 40

/**
 * As many facts as fit into `room` columns, or as much of the first one as does. `shorter` has each fact again, for where the
 * long one does not fit.
 */
const fitting = (facts: readonly string[], shorter: readonly string[], room: number): string => {
  const kept: string[] = []
  facts.forEach((fact, index) => {
    const fit = [fact, shorter[index] ?? ''].find(each => widthOf([...kept, each].join(', ')) <= room)
    if (fit !== undefined) kept.push(fit)
    else if (kept.length === 0) kept.push(fact)
  })
  return kept.join(', ')
}

interface DrawOptions {
  /** Partitions are indented. */
  margin?: string
  /** With the range of the time left, for the jobs that were named. */
  withRange?: boolean
}

/** One line. */
const drawJob = (
  { job, receivedAtMs }: Shown,
  nowMs: number,
  paper: Paper,
  { margin = '', withRange = false }: DrawOptions,
): string => {
  const state = stateOf(job)
  const nameWidth = Math.min(NAME_WIDTH, Math.floor(paper.columns / 3))
  const wide = Math.min(WIDEST_BAR, paper.columns - nameWidth - FACTS_WIDTH)
  const width = wide < NARROWEST_BAR ? 0 : wide
  const { done, left } = width === 0 ? { done: '', left: '' } : bar(job.progressPercent / 100, width, paper.unicode)
  const name = shorten(`${margin}${printable(job.name ?? '')}`, nameWidth, { ellipsis: paper.unicode ? '…' : '~' })
  const factsWith = (withRange: boolean): string[] =>
    isFinished(job)
      ? [outcomeOf(job)]
      : [
          ...(state === 'running' ? [] : [state]),
          ...factsOf(job, nowMs - receivedAtMs, { withRange }),
          ...[currentOf(job)].filter(fact => fact !== ''),
        ]
  const style = STATE_STYLES[state] ?? 'cyan'
  const percent = ` ${String(job.progressPercent).padStart(3)} %  `
  const room = paper.columns - nameWidth - 2 - width - percent.length
  return paint(
    [
      piece(`${padded(name, nameWidth)}  `, 'bold'),
      piece(done, style),
      piece(left, 'dim'),
      piece(percent),
      piece(fitting(factsWith(withRange), factsWith(false), room), isFinished(job) ? style : 'plain'),
    ],
    paper,
  )
}

/** The open partitions of a batch: first the running ones, then the pending ones, by index. */
const openPartitions = (partitions: ReadonlyMap<string, Shown>): Shown[] => {
  const placeOf = ({ job }: Shown): number => (job.status === 'running' ? 0 : 1e9) + (job.partitionIndex ?? 0)
  return [...partitions.values()].filter(({ job }) => !isFinished(job)).sort((a, b) => placeOf(a) - placeOf(b))
}

/** The watched jobs, in the order in which they were named, or in which they appeared. */
class Watched implements Picture {
  readonly #ids: readonly string[]
  readonly #shown = new Map<string, Shown>()
  /** The partitions of the batches that are unfolded, by the batches' ids. */
  readonly #partitions = new Map<string, Map<string, Shown>>()
  /** null: no connection has been tried yet. */
  #isConnected: boolean | null = null
  /** The time at which the connection was lost: the shown times stop there. */
  #lostAtMs = Infinity

  constructor(ids: readonly string[]) {
    this.#ids = ids
  }

  take(job: WireJob): void {
    this.#shown.set(job.id, { job, receivedAtMs: Date.now() })
  }

  takePartition(batchId: string, job: WireJob): void {
    const partitions = this.#partitions.get(batchId) ?? new Map<string, Shown>()
    this.#partitions.set(batchId, partitions.set(job.id, { job, receivedAtMs: Date.now() }))
  }

  forget(id: string): void {
    this.#shown.delete(id)
  }

  /** Notes whether the connection works. Answers whether that has changed. */
  connected(isConnected: boolean): boolean {
    const isNews = this.#isConnected !== isConnected
    if (isNews) this.#lostAtMs = isConnected ? Infinity : Date.now()
    this.#isConnected = isConnected
    return isNews
  }

  status(id: string): string | undefined {
    return this.#shown.get(id)?.job.status
  }

  draw(paper: Paper): string[] {
    const all = this.#inOrder()
    const nowMs = Math.min(Date.now(), this.#lostAtMs)
    const draw = (shown: Shown, options: DrawOptions): string => drawJob(shown, nowMs, paper, options)
    // One row stays free for the cursor, and one for the last line.
    const room = Math.max(1, paper.rows - 2)
    const wanted = all.flatMap(shown => [draw(shown, { withRange: this.#isNamed }), ...this.#below(shown, draw, paper)])
    const lines = wanted.slice(0, room)
    if (wanted.length > room) lines.push(paint([piece(`and ${wanted.length - room} more`, 'dim')], paper))
    else if (this.#isConnected === false) lines.push(paint([piece(NOT_CONNECTED, 'red')], paper))
    else if (this.#isConnected === null) lines.push(paint([piece('Connecting.', 'dim')], paper))
    else if (all.length === 0) lines.push(paint([piece('Nothing is running.', 'dim')], paper))
    return lines
  }

  /** The partitions below a batch. Failures come first, because a person should act on them. */
  #below({ job }: Shown, draw: (shown: Shown, options: DrawOptions) => string, paper: Paper): string[] {
    const partitions = this.#partitions.get(job.id)
    if (!partitions) return []
    const errors = job.children?.errors ?? []
    return [
      ...errors.map(error => paint([piece(`${MARGIN}failed: ${printable(error)}`, 'red')], paper)),
      ...openPartitions(partitions).map(shown => draw(shown, { margin: MARGIN })),
    ]
  }

  describe(): ReadonlyMap<string, string> {
    const lines = new Map<string, string>()
    for (const { job } of this.#inOrder()) {
      // A log only says how a batch's partitions ended.
      for (const { job: partition } of this.#partitions.get(job.id)?.values() ?? [])
        if (isFinished(partition)) lines.set(partition.id, `${MARGIN}${endLine(partition)}`)
      lines.set(job.id, isFinished(job) ? endLine(job) : plainLine(job, { withRange: this.#isNamed }))
    }
    return lines
  }

  get #isNamed(): boolean {
    return this.#ids.length > 0
  }

  #inOrder(): Shown[] {
    if (!this.#isNamed) return [...this.#shown.values()]
    return this.#ids.map(id => this.#shown.get(id)).filter(shown => shown !== undefined)
  }
}

const isFinishedStatus = (status: string | undefined): boolean => status !== undefined && isFinished({ status })

const endLine = (job: WireJob): string => `${printable(job.name ?? job.id)}: ${outcomeOf(job)}`

/** `headway watch`: shows live bars of some jobs until they have finished, or of all running jobs. */
export const addWatchCommand = (program: Command, { environment, err, exit }: Surroundings): void => {
  withConnection(program.command('watch'))
    .description('follow jobs live')
    .argument('[id...]', 'these jobs, until all have finished')
    .option('--type <jobType>', 'without ids: only jobs of this type')
    .addHelpText('after', `${EXIT_CODES_HELP}${EXAMPLES}`)
    .action(async (given: string[], options: WatchOptions) => {
      const ids = given.map(id => id.toLowerCase())
      const watched = new Watched(ids)
      const told = new Set<string>()
      const done = new AbortController()
      const query = new URLSearchParams(ids.map((id): [string, string] => ['jobId', id]))
      if (options.type !== undefined) query.set('jobType', options.type)
      if (ids.length === 0) query.set('topLevel', 'true')
      let refusal: RefusedError | null = null as RefusedError | null
      const client = connect(options, environment)
      const screen = startScreen(watched, process.stdout)
      const unfolded = new Map<string, Promise<void>>()
      /** Follows the partitions of a named batch as long as the batch is watched. */
      const unfold = (batchId: string): Promise<void> =>
        follow(
          client,
          new URLSearchParams({ parentJobId: batchId }),
          { onJob: job => watched.takePartition(batchId, job), onConnection: () => undefined },
          done.signal,
        ).catch((error: unknown) => {
          // The batch is still shown. If the service refuses this caller, it refuses the batch's stream as well.
          if (!(error instanceof RefusedError)) throw error
        })
      const follower: Follower = {
        onJob(job) {
          watched.take(job)
          if (ids.length > 0 && job.children && !unfolded.has(job.id)) unfolded.set(job.id, unfold(job.id))
          if (ids.length === 0 && isFinished(job)) {
            watched.forget(job.id)
            // After a reconnect, the snapshot repeats jobs that finished a short time ago.
            if (!told.has(job.id)) screen.say(endLine(job))
            told.add(job.id)
          }
          if (ids.length > 0 && ids.every(id => isFinishedStatus(watched.status(id)))) done.abort()
        },
        onSnapshot() {
          const missing = ids.find(id => watched.status(id) === undefined)
          if (missing === undefined) return
          refusal = new RefusedError('job_not_found', 404, `There is no job ${missing}.`)
          done.abort()
        },
        onConnection(isConnected) {
          // In a terminal the picture says so.
          if (watched.connected(isConnected) && !isConnected && !process.stdout.isTTY) err(`${NOT_CONNECTED}\n`)
        },
      }
      try {
        await follow(client, query, follower, done.signal)
      } finally {
        done.abort()
        await Promise.all(unfolded.values())
        screen.end()
      }
      if (refusal) throw refusal
      exit(codeOf(ids.map(id => watched.status(id) ?? '')))
    })
}
