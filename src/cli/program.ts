import { Command, CommanderError } from 'commander'
import { RefusedError, UnavailableError } from '../node-client/client.ts'
import { HeadwayError } from '../contract/errors.ts'
import { printable } from '../terminal/text.ts'
import { version } from '../version.ts'
import { addCancelCommand } from './cancel.ts'
import { addCompletionCommand } from './completion.ts'
import { addConformanceCommand } from './conformance.ts'
import { addDatabaseCommand } from './database.ts'
import { addDumpCommand } from './dump.ts'
import { EXIT } from './exit-codes.ts'
import { addListCommand } from './list.ts'
import { addMcpCommand } from './mcp.ts'
import { addMigrateCommand } from './migrate.ts'
import { addRestoreCommand } from './restore.ts'
import { addRunCommand } from './run.ts'
import { addServeCommand } from './serve.ts'
import { addShowCommand } from './show.ts'
import type { Surroundings } from './surroundings.ts'
import { addTokenCommand } from './token.ts'
import { addWaitCommand } from './wait.ts'
import { addWatchCommand } from './watch.ts'

/** `error: unknown option '--tenent'` → `Unknown option '--tenent'.` */
const sentenceOf = (text: string): string => {
  const words = text.replace(/^error: /, '').trim()
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.?)]$/.test(words) ? '' : '.'}`
}

const EXAMPLES = `
Examples:
  headway                                     start the service
  headway run --name 'Backup' -- ./backup.sh  run a command as a job
  headway watch                               see what runs
  headway list --status failed                see what failed, and why
  headway show <id>                           all about one job
  headway token --help                        how to make a token
  headway mcp --help                          how to let an assistant use it

Commands that call a service find it by HEADWAY_URL and HEADWAY_TOKEN, or --url and --token.
`

const createProgram = (surroundings: Surroundings): Command => {
  const { out, err } = surroundings
  const program = new Command('headway')
    .description('How far every long-running job is, whether it is alive, and when it will be done.')
    .version(version, '--version')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err, outputError: (text, write) => write(`${sentenceOf(text)}\n`) })
    .showHelpAfterError('See --help.')
  addServeCommand(program, surroundings)
  addMigrateCommand(program, surroundings)
  addDumpCommand(program, surroundings)
  addRestoreCommand(program, surroundings)
  addDatabaseCommand(program, surroundings)
  addTokenCommand(program, surroundings)
  addRunCommand(program, surroundings)
  addWatchCommand(program, surroundings)
  addWaitCommand(program, surroundings)
  addListCommand(program, surroundings)
  addShowCommand(program, surroundings)
  addCancelCommand(program, surroundings)
  addMcpCommand(program, surroundings)
  addConformanceCommand(program, surroundings)
  addCompletionCommand(program, surroundings)
  return program.addHelpText('after', EXAMPLES)
}

/** Runs `headway` with these arguments, and resolves with the exit code of the process. */
export const runProgram = async (args: readonly string[], given: Omit<Surroundings, 'exit'>): Promise<number> => {
  let code: number = EXIT.ok
  try {
    await createProgram({ ...given, exit: wanted => (code = wanted) }).parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    const isSentence =
      error instanceof HeadwayError || error instanceof RefusedError || error instanceof UnavailableError
    if (!isSentence) throw error
    given.err(`${printable(error.message)}\n`)
    return error instanceof UnavailableError ? EXIT.unavailable : EXIT.usage
  }
}
