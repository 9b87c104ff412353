import pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { causesOf, classifyFailure, sqlStateOf, UnreachableError } from './failures.ts'

/** The address of a database without the password, for messages. */
interface Place {
  server: string
  user: string
  database: string
}

/**
 * The place that `url` names. `setting` is the operator's name for it. Raises `validation_failed` if `url` cannot be parsed.
 */
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

/** Reasons by the error codes of Node (system errors, and those of its resolver). */
const WHY_UNREACHABLE: Readonly<Record<string, (place: Place) => string>> = {
  ECONNREFUSED: ({ server }) => `nothing listens on ${server}. Start the database`,
  ENOENT: ({ server }) => `there is no socket in ${server}. Start the database`,
  ENOTFOUND: ({ server }) => `the host of ${server} is not known`,
  EAI_AGAIN: ({ server }) => `the host of ${server} cannot be looked up at present. Try again`,
  ECONNRESET: ({ server }) => `${server} has closed the connection. Look at its log`,
  EHOSTUNREACH: ({ server }) => `there is no route to ${server}`,
  ENETUNREACH: ({ server }) => `there is no route to ${server}`,
  ETIMEDOUT: ({ server }) => `${server} does not answer. Start the database, or open the network to it`,
}

/** Reasons by SQLSTATE: the server refuses the connection, or a right that the service needs. */
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

/** Whether waiting would not help, because the operator has to change something. */
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
  // The driver's error for a server that does not answer in time has no code.
  return `${place.server} cannot be used (${cause instanceof Error && cause.message !== '' ? cause.message : 'no answer'})`
}

/**
 * Turns an error of the database at `url` into a sentence that says the reason and what to do; answers any other error
 * unchanged. `setting` is the name of the setting that contains the URL.
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

/** Raises `validation_failed` if `url` cannot be parsed. */
export const refuseUnreadable = (url: string, setting: string): void => void placeOf(url, setting)
