import type { Command } from 'commander'
import type { Surroundings } from './surroundings.ts'

/** `headway serve`, and `headway` alone: starts the service. */
export const addServeCommand = (program: Command, { serve: startService }: Surroundings): void => {
  const serve = program
    .command('serve', { isDefault: true })
    .description('start the service (what headway does when nothing else is said)')
    .addHelpText(
      'after',
      '\nSettings are environment variables. The manual has them all (docs/reference/settings.md).\n',
    )
    // A mistyped command gets here, and would otherwise be reported as one argument too many.
    .allowExcessArguments()
    .action(async () => {
      const [unknown] = serve.args
      if (unknown !== undefined) serve.error(`There is no command ${unknown}`)
      await startService()
    })
}
