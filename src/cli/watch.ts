import type { Command } from 'commander'
import { RefusedError } from '../api-client/client.ts'
import { follow, type LiveJob } from '../api-client/follow.ts'
import { bar } from '../terminal/bar.ts'
import { factsOf, isFinished, outcomeOf, plainLine, stateOf } from '../terminal/job.ts'
import { paint, piece, type Style } from '../terminal/paint.ts'
import { startScreen, type Paper, type Picture } from '../terminal/screen.ts'
import { padded, printable, shorten } from '../terminal/text.ts'
import { connect, withConnection, type ConnectionOptions } from './connection.ts'
import { codeOf, EXIT_CODES_HELP } from './exit-codes.ts'
import type { Surroundings } from './surroundings.ts'

interface WatchOptions extends ConnectionOptions {
  type?: string
}

interface Shown {
  job: LiveJob
  /** By this machine's clock: its estimate is as old as that. */
  receivedAtMs: number
}

const EXAMPLES = `
In a terminal it draws bars, elsewhere it writes lines. Without ids it shows what runs, until Ctrl-C.

Examples:
  headway watch
  headway watch --type import
  headway watch 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55 && deploy
`

const STYLES: Record<string, Style> = {
  completed: 'green',
  failed: 'red',
  cancelled: 'yellow',
  cancelling: 'yellow',
  stalled: 'yellow',
}

const NOT_CONNECTED = 'There is no connection to the service; trying again.'

const NAME_WIDTH = 28
const WIDEST_BAR = 30
/** What stands beside name and bar at least: percent, state, and a fact or two. */
const FACTS_WIDTH = 40

const drawJob = ({ job, receivedAtMs }: Shown, paper: Paper): string => {
  const state = stateOf(job)
  const nameWidth = Math.min(NAME_WIDTH, Math.floor(paper.columns / 3))
  const width = Math.min(WIDEST_BAR, paper.columns - nameWidth - FACTS_WIDTH)
  const { done, left } = width < 5 ? { done: '', left: '' } : bar(job.progressPercent / 100, width, paper.unicode)
  const name = shorten(printable(job.name ?? ''), nameWidth, { ellipsis: paper.unicode ? '…' : '~' })
  const facts = isFinished(job)
    ? [outcomeOf(job)]
    : [...(state === 'running' ? [] : [state]), ...factsOf(job, Date.now() - receivedAtMs)]
  const style = STYLES[state] ?? 'cyan'
  return paint(
    [
      piece(`${padded(name, nameWidth)}  `, 'bold'),
      piece(done, style),
      piece(left, 'dim'),
      piece(` ${String(job.progressPercent).padStart(3)} %  `),
      piece(facts.join(', '), isFinished(job) ? style : 'plain'),
    ],
    paper,
  )
}

/** The jobs that are watched: in the order in which they were named, or in which they came. */
class Watched implements Picture {
  readonly #ids: readonly string[]
  readonly #shown = new Map<string, Shown>()
  /** null: not yet. */
  #isConnected: boolean | null = null

  constructor(ids: readonly string[]) {
    this.#ids = ids
  }

  take(job: LiveJob): void {
    this.#shown.set(job.id, { job, receivedAtMs: Date.now() })
  }

  forget(id: string): void {
    this.#shown.delete(id)
  }

  /** Whether that is news. */
  connected(isConnected: boolean): boolean {
    const isNews = this.#isConnected !== isConnected
    this.#isConnected = isConnected
    return isNews
  }

  status(id: string): string | undefined {
    return this.#shown.get(id)?.job.status
  }

  draw(paper: Paper): string[] {
    const all = this.#inOrder()
    // One row stays free for the cursor, one for the last line.
    const room = Math.max(1, paper.rows - 2)
    const lines = all.slice(0, room).map(shown => drawJob(shown, paper))
    if (all.length > room) lines.push(paint([piece(`and ${all.length - room} more`, 'dim')], paper))
    else if (this.#isConnected === false) lines.push(paint([piece(NOT_CONNECTED, 'red')], paper))
    else if (this.#isConnected === null) lines.push(paint([piece('Connecting.', 'dim')], paper))
    else if (all.length === 0) lines.push(paint([piece('Nothing is running.', 'dim')], paper))
    return lines
  }

  describe(): ReadonlyMap<string, string> {
    return new Map(this.#inOrder().map(({ job }) => [job.id, isFinished(job) ? endLine(job) : plainLine(job)]))
  }

  #inOrder(): Shown[] {
    if (this.#ids.length === 0) return [...this.#shown.values()]
    return this.#ids.map(id => this.#shown.get(id)).filter(shown => shown !== undefined)
  }
}

const isFinishedStatus = (status: string | undefined): boolean => status !== undefined && isFinished({ status })

const endLine = (job: LiveJob): string => `${printable(job.name ?? job.id)}: ${outcomeOf(job)}`

/** `headway watch`: live bars of some jobs until they have finished, or of all that run. */
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
      const screen = startScreen(watched, process.stdout)
      try {
        await follow(
          connect(options, environment),
          query,
          {
            onJob(job) {
              watched.take(job)
              if (ids.length === 0 && isFinished(job)) {
                watched.forget(job.id)
                // After a reconnect, what finished a short time ago comes again.
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
          },
          done.signal,
        )
      } finally {
        screen.end()
      }
      if (refusal) throw refusal
      exit(codeOf(ids.map(id => watched.status(id) ?? '')))
    })
}
