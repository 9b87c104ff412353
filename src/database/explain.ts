import pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { causesOf, classifyFailure, sqlStateOf, UnreachableError } from './failures.ts'

/** Where a database is, as far as it may be told: without the password. */
interface Place {
  server: string
  user: string
  database: string
}

/** `setting` is what the operator has named it by. Raises `validation_failed` where nobody can read `url`. */
const placeOf = (url: string, setting: string): Place => {
  try {
    const { host, port, user = '', database = '' } = new pg.Client({ connectionString: url })
    return { server: host.startsWith('/') ? `${host} (port ${port})` : `${host}:${port}`, user, database }
  } catch (cause) {
    throw new HeadwayError(
      'validation_failed',
      `${setting} cannot be read: write special characters of its user and password as percent and two digits (@ is %40).`,
      { cause },
    )
  }
}

/** By the codes of Node (system errors, and those of its resolver). */
const WHY_UNREACHABLE: Readonly<Record<string, (place: Place) => string>> = {
  ECONNREFUSED: ({ server }) => `nothing listens on ${server}. Start the database`,
  ENOENT: ({ server }) => `there is no socket in ${server}. Start the database`,
  ENOTFOUND: ({ server }) => `the host of ${server} is not known`,
  EAI_AGAIN: ({ server }) => `the host of ${server} cannot be looked up at present. Try again`,
  ECONNRESET: ({ server }) => `${server} has closed the connection. Look at its log`,
  EHOSTUNREACH: ({ server }) => `no way leads to ${server}`,
  ENETUNREACH: ({ server }) => `no way leads to ${server}`,
  ETIMEDOUT: ({ server }) => `${server} does not answer. Start the database, or let the network pass`,
}

/** By SQLSTATE: what the server says when it lets nobody in, or not far enough. */
const WHY_REFUSED: Readonly<Record<string, (place: Place) => string>> = {
  '28P01': ({ server, user }) => `${server} does not let in the user ${user} with this password`,
  '28000': ({ server, user }) => `${server} does not let in the user ${user} from here. Look at its pg_hba.conf`,
  '3D000': ({ server, database }) => `there is no database ${database} on ${server}. Create it`,
  '42501': ({ server, user, database }) =>
    `the user ${user} may not change the database ${database} on ${server}. Make it the owner of the database`,
  '25006': ({ server }) => `${server} is read-only. Take the primary of its cluster`,
  '53300': ({ server }) => `${server} has no connection left. Raise its max_connections, or try again`,
  '57P03': ({ server }) => `${server} is starting or stopping. Try again`,
}

/** Waiting would not help: it is for the operator to mend. */
export const isForOperator = (error: unknown): boolean =>
  ['28P01', '28000', '3D000', '42501', '25006'].includes(sqlStateOf(error) ?? '') ||
  (error instanceof HeadwayError && error.code === 'validation_failed')

const codesOf = (error: unknown): string[] => {
  const codes = causesOf(error).map(each => ('code' in each ? String(each.code) : ''))
  return codes.filter(code => code in WHY_UNREACHABLE)
}

const because = (error: unknown, place: Place): string | null => {
  const refused = WHY_REFUSED[sqlStateOf(error) ?? '']
  if (refused) return refused(place)
  if (classifyFailure(error) !== 'unreachable') return null
  const [code] = codesOf(error)
  const unreachable = WHY_UNREACHABLE[code ?? '']
  if (unreachable) return unreachable(place)
  const { cause } = error as UnreachableError
  // What the driver says of a server that does not answer in time has no code.
  return `${place.server} cannot be used (${cause instanceof Error && cause.message !== '' ? cause.message : 'no answer'})`
}

/**
 * Says in a sentence what keeps the service from the database at `url`, and what to do; any other error comes back as it is.
 * `setting` is the name of the setting that holds the URL.
 */
export const explainDatabase = (error: unknown, url: string, setting: string): unknown => {
  if (error instanceof HeadwayError) return error
  const place = placeOf(url, setting)
  const reason = because(error, place)
  if (reason === null) return error
  return new HeadwayError('database_unavailable', `Cannot use the database: ${reason}, or correct ${setting}.`, {
    cause: error,
  })
}

/** Raises `validation_failed` where `url` cannot be read at all. */
export const refuseUnreadable = (url: string, setting: string): void => void placeOf(url, setting)
