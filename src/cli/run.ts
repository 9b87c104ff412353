import { basename } from 'node:path'
import { InvalidArgumentError, Option, type Command } from 'commander'
import { MAX_UNIT_LENGTH, UNITS, type Unit } from '../contract/units.ts'
import { shownText } from '../contract/shown-text.ts'
import { formatSeconds } from '../terminal/numbers.ts'
import { createWorker, type Job, type Report, type StopError } from '../worker/headway.ts'
import { UnheardError } from '../worker/outage.ts'
import type { LineReport } from './channels/line.ts'
import { openChannels } from './channels/open.ts'
import { splitLines, Tail } from './command/output.ts'
import { exitCodeOf, startCommand, type Ended } from './command/process.ts'
import { withConnection, type ConnectionOptions } from './connection.ts'
import { parseDuration } from './duration.ts'
import { formFor, problemOfForm, unitOf } from './progress/presets/choose.ts'
import { readerOf } from './progress/readers.ts'
import type { Surroundings } from './surroundings.ts'

interface RunOptions extends ConnectionOptions {
  name?: string
  type?: string
  total?: number
  unit?: Unit
  /** In seconds. */
  finishWithin?: number
  /** A pattern for the command's output, or the name of a preset; true: the preset is guessed. */
  parse?: string | true
  /** In seconds. */
  grace: number
  /** In seconds; if absent, it depends on how long the command took. */
  patience?: number
}

const HELP = `
What the command writes is passed on as it is. It does so by a pipe, standard error always and standard output with --parse: some
programs leave out their colours then, or keep lines back (python -u and stdbuf -oL do not).

--parse alone reads apt, curl, dd, docker build, ffmpeg, git clone, pip install, pv, rsync, tar, terraform and wget as these write,
also behind sudo, env, nice, time, timeout and the like. --parse=ffmpeg names one for a script that runs it, and --parse=usual none.
Of anything else it reads 42/100, 42 of 100, 1.2/10.5 MB and 42 %, with thousands parted by commas, blanks or apostrophes. Where
a line has a percent and a fraction that say different things, the percent counts, unless it slips back twice while the fraction
only grows. '90% remaining' is 10 %. A fraction that does not come again, such as 'attempt 1/3', gives way to what follows. A fall
from about 100 % to about 0 begins the next part; of bars in each other the outer one leads. Dates, times, paths, addresses and
versions are left out. Of what does not fit, a pattern of your own reads what it has in its groups: the first is the count and the second
the total, or (?<done>…), (?<total>…) and (?<percent>…). A pattern that takes more than a second for a line is given up.

The job completes if the command ends with 0, and otherwise fails with the last lines that it wrote to standard error. When the job
is cancelled, the command and all that it has started get SIGTERM, and SIGKILL after --grace. SIGTERM, SIGINT and SIGHUP to this
process do the same; Ctrl-C in a terminal leaves it to the command when it ends. A command that was asked to stop and ends with 0
was cancelled. When this process is itself killed by SIGKILL, nothing can be stopped: the command runs on, and its job fails when
it is missed. While the service is away the command runs all the same; its end is then
held up by a tenth of the time that it took, at least a second and at most half a minute, or by --patience.

A program may tell how far it is by itself, and its output then no longer counts: by lines such as 42/100, 42 % or
{"processedCount":42} in the file that HEADWAY_PROGRESS_FILE and ARGO_PROGRESS_FILE name (the last line counts), or on file descriptor 3.
A training that uses Transformers, or the SDK of Kubeflow Trainer, shows its percent, the time left and its metrics without
--parse: the command finds in KUBEFLOW_TRAINER_SERVER_URL, …_TOKEN and …_CA_CERT an address of this process, if they are not set.

The exit code is that of the command; 127 if there is none, 126 if it cannot be run, 128 + n if signal n ended it, 143 if it was
cancelled and said 0. The command finds its job in HEADWAY_JOB_ID.

Examples:
  headway run -- ./backup.sh
  headway run --name 'Nightly import' --type import --parse -- python -u import.py  reads 42/100 or 42 %
  headway run --parse=ffmpeg -- ./encode-all.sh film.mkv
  headway run --total 1200 --parse 'Row (\\d+)' -- ./rows.sh                         reads 'Row 812 …'
  headway run --parse '(?<percent>\\d+) percent' -- ./render.sh
`

const parseTotal = (text: string): number => {
  const total = Number(text)
  if (text === '' || !Number.isSafeInteger(total) || total < 0) throw new InvalidArgumentError('Write a whole number.')
  return total
}

/** A unit that can be shown. A unit that is not visible must not keep the command from running. */
const parseUnit = (given: string): Unit => {
  const text = shownText(given) || 'unknown'
  // Characters are code points, as the service counts them.
  const { length } = Array.from(text)
  if (length <= MAX_UNIT_LENGTH) return text
  throw new InvalidArgumentError(`Write at most ${MAX_UNIT_LENGTH} characters.`)
}

const parseForm = (text: string): string => {
  const problem = problemOfForm(text)
  if (problem !== null) throw new InvalidArgumentError(problem)
  return text
}

/** Why the command has failed, for the job: a sentence, and the last lines of output instead of a stack. */
const failureOf = (command: string, { code, signal, error, left }: Ended, tail: Tail): Error => {
  if (left.length > 0) {
    const names = left.map(({ pid, name }) => `${pid} (${name})`).join(', ')
    return new Error(`${command} was stopped, but processes that it has started could not be stopped: ${names}`)
  }
  const how = error
    ? `could not be started: ${error.code === 'ENOENT' ? 'there is no such command' : error.message}`
    : signal
      ? `was ended by ${signal}`
      : `ended with code ${code}`
  const failure = new Error(`${command} ${how}${tail.last === '' ? '' : `: ${tail.last}`}`)
  failure.stack = String(tail)
  return failure
}

/**
 * Tells the service how the command ended. If it was asked to stop and exits with 0, it has stopped; more cannot be known. If
 * it ended by itself before the signal was sent, it was not asked.
 */
const end = (job: Job, command: string, ended: Ended, tail: Tail): Promise<boolean> => {
  const { code, wasAsked, left } = ended
  const isStopped = wasAsked && (job.signal.aborted || code === 0)
  if (left.length > 0 || !(isStopped || code === 0)) return job.fail(failureOf(command, ended, tail))
  return isStopped ? job.cancelled() : job.complete()
}

/** A cancelled command that exits with 0 must not let `headway run … && deploy` continue. */
const codeOf = (ended: Ended, job: Job): number =>
  ended.code === 0 && ended.wasAsked && job.signal.aborted
    ? exitCodeOf({ code: null, signal: 'SIGTERM', error: null })
    : exitCodeOf(ended)

/** `headway run`: runs any command as a job, and resolves with the exit code of the process. */
const run = async (
  command: string,
  args: string[],
  options: RunOptions,
  surroundings: Surroundings,
): Promise<number> => {
  const { environment, err } = surroundings
  const { name, type, total, finishWithin, parse, grace, patience, url, token } = options
  const form = parse === undefined ? null : formFor(parse, [command, ...args])
  const unit = options.unit ?? (form && unitOf(form))
  const program = basename(command)
  let unheard = ''
  const headway = createWorker({
    ...(url !== undefined && { url }),
    ...(token !== undefined && { token }),
    onProblem: problem => {
      // If the service did not learn of the end, the message below says so once, for any reason.
      if (problem instanceof UnheardError) unheard = `${problem.url} has not answered. `
      else err(`headway: ${problem.message}\n`)
    },
    // The command may die, and this process reports that itself.
    watchDeath: false,
    ...(patience !== undefined && { patienceMs: patience * 1000 }),
  })
  // Without the arguments, because they may be secrets.
  const job = await headway.start({
    name: name ?? program,
    jobType: type ?? program,
    cancellable: true,
    ...(total !== undefined && { totalCount: total }),
    ...(unit && { unit }),
    ...(finishWithin !== undefined && { finishWithinSeconds: finishWithin }),
  })

  const tail = new Tail()
  let isToldByChannel = false
  let isRead = false
  const onReport = (report: Report): void => {
    // What the command tells of itself is better than what its output seems to say.
    if (isToldByChannel) return
    isRead = true
    job.report(report)
  }
  const onChannelReport = ({ increment, ...report }: LineReport): void => {
    // A percent only counts while there is no total.
    const forgotten = isRead && !isToldByChannel && total === undefined ? { totalCount: null } : {}
    isToldByChannel = true
    const { progressPercent } = report
    const count =
      total !== undefined && typeof progressPercent === 'number'
        ? { processedCount: Math.floor((total * progressPercent) / 100) }
        : {}
    if (increment !== undefined) job.advance(increment)
    job.report({ ...forgotten, ...count, ...report })
  }
  const onProblem = (sentence: string): void => err(`headway: ${sentence}\n`)
  const reader = form && readerOf(form, { total, unit: options.unit, onReport, onProblem })
  const onLine = (line: string): void => reader?.read(line)
  const output = splitLines(onLine, onLine)
  const errors = splitLines(line => {
    tail.add(line)
    onLine(line)
  }, onLine)
  const channels = await openChannels({ environment, onReport: onChannelReport, onProblem })
  const running = startCommand({
    command,
    args,
    environment: { ...environment, ...channels.environment, ...(job.id !== null && { HEADWAY_JOB_ID: job.id }) },
    graceSeconds: grace,
    onOutput: reader ? text => output.write(text) : null,
    onError: text => errors.write(text),
    onDescriptor: channels.onDescriptor,
  })
  const onStop = (): void => {
    const { message } = job.signal.reason as StopError
    err(`headway: ${message} Stopping ${program}, at most ${formatSeconds(grace)}.\n`)
    running.stop()
  }
  if (job.signal.aborted) onStop()
  else job.signal.addEventListener('abort', onStop, { once: true })

  const ended = await running.ended
  job.signal.removeEventListener('abort', onStop)
  output.end()
  errors.end()
  await Promise.all([reader?.end(), channels.close()])
  if (ended.error || ended.left.length > 0) err(`headway: ${failureOf(command, ended, tail).message}\n`)
  const isTold = await end(job, program, ended, tail)
  if (!isTold && !job.signal.aborted) err(`headway: ${unheard}The service does not know how the job ended.\n`)
  return codeOf(ended, job)
}

/** Adds `headway run`. */
export const addRunCommand = (program: Command, surroundings: Surroundings): void => {
  withConnection(program.command('run'))
    .description('run a command as a job')
    .argument('<command...>', 'the command and its arguments, after --')
    // Options after the command belong to the command.
    .passThroughOptions()
    .option('--name <text>', 'what people call the job; the name of the command when absent')
    .option('--type <jobType>', 'what kind of work it is; the name of the command when absent')
    .option('--total <n>', 'how much there is to do', parseTotal)
    .option('--unit <unit>', `what is counted: ${UNITS.join(', ')}, or a word of your own`, parseUnit)
    .option('--finish-within <duration>', 'the deadline of the job, from its start: 90s, 2h', parseDuration)
    .option(
      '--parse [form]',
      'read progress from the output: 42/100, 42 %, what a program such as ffmpeg writes, or what a regular expression finds (see below)',
      parseForm,
    )
    .addOption(
      new Option('--grace <duration>', 'how long the command may take to stop')
        .argParser(parseDuration)
        .default(10, '10s'),
    )
    .option(
      '--patience <duration>',
      'how long the end may wait for the service (a tenth of the time that the command took, 1 to 30 s; slow ones 10 s)',
      parseDuration,
    )
    .addHelpText('after', HELP)
    .action(async ([command = '', ...args]: string[], options: RunOptions) => {
      surroundings.exit(await run(command, args, options, surroundings))
    })
}
