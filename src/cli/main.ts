#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { HeadwayError } from '../errors.ts'
import { addTokenCommand } from './token.ts'

/** The call itself is wrong, or a setting that it needs: trying again will not help. */
const BAD_USAGE = 2

const packageFile = new URL('../../package.json', import.meta.url)
const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }

/** `error: unknown option '--tenent'` → `Unknown option '--tenent'.` */
const sentenceOf = (text: string): string => {
  const words = text.replace(/^error: /, '').trim()
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.?)]$/.test(words) ? '' : '.'}`
}

const createProgram = (): Command => {
  const program = new Command('headway')
    .description('How far every long-running job is, whether it is alive, and when it will be done.')
    .version(version, '--version')
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`${sentenceOf(text)}\n`) })
    .showHelpAfterError('See --help.')
  const serve = program
    .command('serve', { isDefault: true })
    .description('start the service (what headway does when nothing else is said)')
    .addHelpText('after', '\nSettings are environment variables. The README has them all.\n')
    .allowExcessArguments()
    .action(async () => {
      const [unknown] = serve.args
      if (unknown !== undefined) serve.error(`There is no command ${unknown}`)
      // Not before it is wanted: the other commands need neither its parts nor its signals.
      await import('../main.ts')
    })
  addTokenCommand(program, process.env)
  return program.addHelpText(
    'after',
    `
Examples:
  headway                                     start the service
  headway token --help                        how to make a token for it
`,
  )
}

try {
  await createProgram().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : BAD_USAGE
  else if (error instanceof HeadwayError) {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = BAD_USAGE
  } else throw error
}
