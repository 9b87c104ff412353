import type { Command } from 'commander'
import { readConfig } from '../config.ts'
import { UnavailableError } from '../node-client/client.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Surroundings } from './surroundings.ts'

const HELP = `
The service does this itself when it starts. This command is for those who give that right to a deployment step alone. It uses
DATABASE_LISTEN_URL, or else DATABASE_URL.

Example:
  DATABASE_URL=postgres://owner:secret@db.example:5432/headway headway migrate
`

/** `headway migrate`: brings the tables and functions of a database up to date, and ends. */
export const addMigrateCommand = (program: Command, { environment, out, err }: Surroundings): void => {
  program
    .command('migrate')
    .description('bring the database up to date, without starting the service')
    .addHelpText('after', HELP)
    .action(async () => {
      const { databaseUrl, databaseListenUrl } = readConfig(environment)
      const url = databaseListenUrl ?? databaseUrl
      if (url === null) {
        throw new HeadwayError(
          'validation_failed',
          'Set DATABASE_URL. The embedded Postgres needs no migration: the service migrates it at its start.',
        )
      }
      const { migrate } = await import('../database/migrate.ts')
      const { explainDatabase, isForOperator, refuseUnreadable } = await import('../database/explain.ts')
      const setting = databaseListenUrl === null ? 'DATABASE_URL' : 'DATABASE_LISTEN_URL'
      refuseUnreadable(url, setting)
      const onMigration = (name: string) => out(`Migrating the database: ${name}\n`)
      const onWait = (message: string) => err(`${message}\n`)
      const warnings = await migrate(url, { onMigration, onWait }).catch((error: unknown) => {
        const explained = explainDatabase(error, url, setting)
        if (explained === error || isForOperator(error)) throw explained
        throw new UnavailableError((explained as HeadwayError).message, 0, error)
      })
      for (const warning of warnings) out(`Warning: ${warning}\n`)
      out('The database is up to date.\n')
    })
}
