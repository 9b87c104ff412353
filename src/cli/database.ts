import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import type { Command } from 'commander'
import { HeadwayError } from '../contract/errors.ts'
import { withOwnDatabase, type OwnDatabase } from './own-database.ts'
import type { Surroundings } from './surroundings.ts'

const HELP = `
Without a command it says how programs reach the database. With one it runs that command, which finds the database by the
environment variables of PostgreSQL (PGHOST, PGPASSWORD and others), and keeps the embedded Postgres running meanwhile.

Examples:
  headway database
  headway database psql
  headway database psql -c 'SELECT status, count(*) FROM public.progress_jobs GROUP BY status'
  headway database pg_dump --format=custom --file=headway.pgdump
`

/** Parameters of a URL that have a variable. https://www.postgresql.org/docs/current/libpq-envars.html */
const VARIABLES: Readonly<Record<string, string>> = {
  host: 'PGHOST',
  port: 'PGPORT',
  user: 'PGUSER',
  password: 'PGPASSWORD',
  dbname: 'PGDATABASE',
  sslmode: 'PGSSLMODE',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  sslrootcert: 'PGSSLROOTCERT',
  options: 'PGOPTIONS',
  application_name: 'PGAPPNAME',
  connect_timeout: 'PGCONNECT_TIMEOUT',
}

/** The variables by which a program that uses libpq finds the database of `url`. */
const variablesOf = (url: string): Record<string, string> => {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  const parts = {
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port,
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    dbname: decodeURIComponent(pathname.slice(1)),
  }
  return Object.fromEntries(
    [...Object.entries(parts), ...searchParams].flatMap(([name, value]) => {
      const variable = VARIABLES[name]
      return variable === undefined || value === '' ? [] : [[variable, value]]
    }),
  )
}

const describe = ({ name, url, passwordFile }: OwnDatabase): string => {
  if (passwordFile === null) return `${name}\nThe password is in the setting that names the database.\n`
  const bare = new URL(url)
  bare.password = ''
  const { PGHOST = '', PGPORT = '', PGUSER = '', PGDATABASE = '' } = variablesOf(url)
  return `${name}
It runs while the service does, and while headway database runs a command.

URL            ${bare.href}
Host           ${PGHOST}
Port           ${PGPORT}
User           ${PGUSER}
Database       ${PGDATABASE}
Password file  ${passwordFile}
`
}

/** Runs the command in this terminal, and answers its exit code: that of a shell if a signal has ended it. */
const runCommand = async ([program = '', ...args]: string[], environment: NodeJS.ProcessEnv): Promise<number> => {
  const child = spawn(program, args, { stdio: 'inherit', env: environment })
  // Ctrl-C reaches the command as well, and the command decides what it means.
  const ignore = () => undefined
  process.on('SIGINT', ignore)
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
    return code ?? 128 + (signal === null ? 0 : constants.signals[signal])
  } catch (cause) {
    const { message } = cause as Error
    throw new HeadwayError(
      'validation_failed',
      `${program} cannot be run (${message}). Install it, or correct its name.`,
      {
        cause,
      },
    )
  } finally {
    process.off('SIGINT', ignore)
  }
}

/** `headway database`: says how the database is reached, or runs a program of PostgreSQL on it. */
export const addDatabaseCommand = (program: Command, surroundings: Surroundings): void => {
  program
    .command('database')
    .description('say how the database is reached, or run psql or pg_dump on it')
    .argument('[command...]', 'a program that uses the database, with its arguments')
    .passThroughOptions()
    .addHelpText('after', HELP)
    .action((command: string[]) =>
      withOwnDatabase(surroundings, { mayCreate: false }, async database => {
        if (command.length === 0) surroundings.out(describe(database))
        else surroundings.exit(await runCommand(command, { ...surroundings.environment, ...variablesOf(database.url) }))
      }),
    )
}
