import { Command, CommanderError } from 'commander'
import { HeadwayError } from '../errors.ts'
import { version } from '../version.ts'
import { addMcpCommand } from './mcp.ts'
import { addTokenCommand } from './token.ts'

/** The call itself is wrong, or a setting that it needs: trying again will not help. */
const BAD_USAGE = 2

/** What commands read and write, and how the service is started. */
export interface Surroundings {
  environment: NodeJS.ProcessEnv
  out: (text: string) => void
  err: (text: string) => void
  serve: () => Promise<unknown>
}

/** `error: unknown option '--tenent'` → `Unknown option '--tenent'.` */
const sentenceOf = (text: string): string => {
  const words = text.replace(/^error: /, '').trim()
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.?)]$/.test(words) ? '' : '.'}`
}

const EXAMPLES = `
Examples:
  headway                                     start the service
  headway token --help                        how to make a token for it
  headway mcp --help                          how to let an assistant use it
`

const createProgram = ({ environment, out, err, serve: startService }: Surroundings): Command => {
  const program = new Command('headway')
    .description('How far every long-running job is, whether it is alive, and when it will be done.')
    .version(version, '--version')
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err, outputError: (text, write) => write(`${sentenceOf(text)}\n`) })
    .showHelpAfterError('See --help.')
  const serve = program
    .command('serve', { isDefault: true })
    .description('start the service (what headway does when nothing else is said)')
    .addHelpText('after', '\nSettings are environment variables. The README has them all.\n')
    // Whatever is no command comes here, and would be told that it is one argument too many.
    .allowExcessArguments()
    .action(async () => {
      const [unknown] = serve.args
      if (unknown !== undefined) serve.error(`There is no command ${unknown}`)
      await startService()
    })
  addTokenCommand(program, environment, out)
  addMcpCommand(program, environment)
  return program.addHelpText('after', EXAMPLES)
}

/** Does what the arguments of `headway` say, and resolves with the exit code of the process. */
export const runProgram = async (args: readonly string[], surroundings: Surroundings): Promise<number> => {
  try {
    await createProgram(surroundings).parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : BAD_USAGE
    if (!(error instanceof HeadwayError)) throw error
    surroundings.err(`${error.message}\n`)
    return BAD_USAGE
  }
}
