import pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { clientOptions } from './connection.ts'
import { causesOf, classifyFailure, sqlStateOf, UnreachableError } from './failures.ts'
import { UnfitDatabaseError } from './fitness.ts'
import { MissingRightsError } from './rights.ts'

/** The address of a database without the password, for messages. */
interface Place {
  server: string
  user: string
  database: string
  /** Whether one is known: of the URL, or of PGPASSWORD. */
  hasPassword: boolean
  usesTls: boolean
  /** The name of the setting that holds the URL. */
  setting: string
}

const ESCAPES = 'write special characters of its user and password as percent and two digits (@ is %40)'

const explainUrl = (error: unknown, setting: string): string => {
  const isFile = error instanceof Error && 'syscall' in error && 'path' in error
  if (!isFile) return `${setting} cannot be read: ${ESCAPES}.`
  const code = 'code' in error ? String(error.code) : ''
  return `${setting} names a file of certificates that cannot be read (${String(error.path)}: ${code}): correct it.`
}

/**
 * The place that `url` names. `setting` is the operator's name for it. Raises `validation_failed` if `url` cannot be parsed.
 */
const placeOf = (url: string, setting: string): Place => {
  try {
    const { host, port, user = '', database = '', password, ssl } = new pg.Client(clientOptions(url))
    return {
      server: host.startsWith('/') ? `${host} (port ${port})` : `${host}:${port}`,
      user,
      database,
      hasPassword: typeof password === 'string' && password !== '',
      usesTls: ssl,
      setting,
    }
  } catch (cause) {
    throw new HeadwayError('validation_failed', explainUrl(cause, setting), { cause })
  }
}

type Explanation = (place: Place, message: string) => string

const untrusted: Explanation = ({ server, setting }) =>
  `the certificate of ${server} is signed by nobody whom this machine trusts. ` +
  `Add sslrootcert=/path/to/ca.pem to ${setting}, with the certificate of its authority, or its own if it has signed itself`
const outOfDate: Explanation = ({ server }) =>
  `the certificate of ${server} has expired, or is not valid yet. Renew it, or set the clock of this machine`
const otherName: Explanation = ({ server }) =>
  `the certificate of ${server} is for another name. Call the server by the name in its certificate`

/** Reasons by the codes of Node for certificates (https://nodejs.org/api/tls.html#x509-certificate-error-codes). */
const WHY_UNTRUSTED: Readonly<Record<string, Explanation>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  CERT_SIGNATURE_FAILURE: untrusted,
  CERT_UNTRUSTED: untrusted,
  INVALID_CA: untrusted,
  CERT_HAS_EXPIRED: outOfDate,
  CERT_NOT_YET_VALID: outOfDate,
  ERR_TLS_CERT_ALTNAME_INVALID: otherName,
  HOSTNAME_MISMATCH: otherName,
}

/** Reasons by the error codes of Node (system errors, and those of its resolver). */
const WHY_UNREACHABLE: Readonly<Record<string, Explanation>> = {
  ECONNREFUSED: ({ server }) => `nothing listens on ${server}. Start the database`,
  ENOENT: ({ server }) => `there is no socket in ${server}. Start the database`,
  EACCES: ({ server }) => `this user may not use the socket in ${server}. Change its rights`,
  ENOTFOUND: ({ server }) => `the host of ${server} is not known. Start the database`,
  EAI_AGAIN: ({ server }) => `the host of ${server} cannot be looked up at present. Try again`,
  ECONNRESET: ({ server }) => `${server} has closed the connection. Look at its log`,
  EHOSTUNREACH: ({ server }) => `there is no route to ${server}. Open the network to it`,
  ENETUNREACH: ({ server }) => `there is no route to ${server}. Open the network to it`,
  ETIMEDOUT: ({ server }) => `${server} does not answer. Start the database, or open the network to it`,
  EPROTO: ({ server }) => `${server} and this process agree on no version of TLS. Look at the log of the server`,
  ...WHY_UNTRUSTED,
}

const taken: Explanation = ({ server, database }, message) =>
  `the database ${database} on ${server} has something else under a name that Headway needs (${message}). ` +
  'Give Headway a database of its own'
const incomplete: Explanation = ({ server, database }, message) =>
  `the database ${database} on ${server} lacks what an earlier start of Headway has made there (${message}). Restore it, or ` +
  'give Headway an empty database'
const timedOut: Explanation = ({ server, user }, message) =>
  `${server} has ended a statement that took longer than the limits of the user ${user} allow (${message}). Try again`
const broken: Explanation = ({ server }, message) =>
  `${server} is in trouble itself (${message}). Look at its log, and try again`

/** Reasons by SQLSTATE: the server refuses the connection, or a right that the service needs. */
const WHY_REFUSED: Readonly<Record<string, Explanation>> = {
  '28P01': ({ server, user }) =>
    `${server} does not let in the user ${user} with this password. Special characters are written as percent and two digits`,
  '28000': ({ server, user, usesTls }) =>
    `${server} does not let in the user ${user} from here. Look at its pg_hba.conf` +
    (usesTls ? '' : '; if it demands TLS, add sslmode=verify-full to the URL'),
  '3D000': ({ server, database }) => `there is no database ${database} on ${server}. Create it`,
  '42501': ({ server, user, database }) =>
    `the user ${user} may not change the database ${database} on ${server}. Make it the owner of the database`,
  '25006': ({ server }) =>
    `${server} is read-only: it is a standby, or default_transaction_read_only is on. Take the primary of its cluster`,
  '53100': ({ server }) => `${server} has no room left on its disk. Make room there`,
  '53300': ({ server }) => `${server} has no connection left. Raise its max_connections, or try again`,
  '57P03': ({ server }) => `${server} is starting or stopping. Try again`,
  '42P07': taken, // duplicate_table: also a view, a sequence or an index
  '42P06': taken, // duplicate_schema
  '42710': taken, // duplicate_object: a type, a trigger
  '42723': taken, // duplicate_function
  '42701': taken, // duplicate_column
  '42809': taken, // wrong_object_type: a view in place of a table
  '42P01': incomplete, // undefined_table
  '42703': incomplete, // undefined_column
  '42704': incomplete, // undefined_object
  '42883': incomplete, // undefined_function
  '3F000': incomplete, // invalid_schema_name
  '57014': timedOut, // query_canceled
  '55P03': timedOut, // lock_not_available
}

/** Reasons by the class of the SQLSTATE, if the state itself has none. */
const WHY_REFUSED_BY_CLASS: Readonly<Record<string, Explanation>> = {
  '53': broken, // insufficient resources
  '58': broken, // system error: of the disk, of a file
  XX: broken, // internal error: corrupted data, a corrupted index
}

const refusalOf = (error: unknown): Explanation | undefined => {
  const state = sqlStateOf(error) ?? ''
  return WHY_REFUSED[state] ?? WHY_REFUSED_BY_CLASS[state.slice(0, 2)]
}

/** Classes of SQLSTATEs that may mend themselves. A server that refuses for any other reason refuses the next time as well. */
const PASSING = new Set([
  '08', // connection: a pooler that does not reach its server
  '40', // transaction rollback: conflicts
  '53', // insufficient resources
  '55', // object not in prerequisite state: locks
  '57', // operator intervention: the server is starting or stopping
  '58', // system error: of the disk, of a file
  'XX', // internal error
])

const codesOf = (error: unknown): string[] => {
  const codes = causesOf(error).map(each => ('code' in each ? String(each.code) : ''))
  return codes.filter(code => code in WHY_UNREACHABLE)
}

/** Whether waiting would not help, because the operator has to change something. */
export const isForOperator = (error: unknown): boolean => {
  if (error instanceof UnfitDatabaseError) return true
  if (error instanceof HeadwayError) return error.code === 'validation_failed'
  const state = sqlStateOf(error)
  if (state !== null) return !PASSING.has(state.slice(0, 2))
  if (causesOf(error).some(each => each instanceof UnreachableError && each.isFinal)) return true
  return codesOf(error).some(code => code in WHY_UNTRUSTED)
}

const withRights = ({ statements, superuser }: MissingRightsError, { server, user, database }: Place): string => {
  const facts = `the user ${user} may not change the database ${database} on ${server}`
  const grants = statements.length === 0 ? '' : `. Run there as an administrator: ${statements.join('; ')}`
  if (superuser === null) return grants === '' ? `${facts}. Make it the owner of the database` : `${facts}${grants}`
  return `${facts}${grants}. What an earlier start has made belongs to ${superuser}: start Headway as ${superuser} again`
}

/** The driver's own errors have no code: a server does not answer in time, has no TLS, or asks for a password. */
const withoutCode = (message: string, { server, hasPassword, usesTls, setting }: Place): string => {
  const hints = [
    ...(hasPassword ? [] : [`${setting} holds no password`]),
    ...(usesTls ? [`${setting} asks for TLS: where the server has none, take sslmode=disable`] : []),
  ]
  const advice = hints.length === 0 ? ['Look at the log of the server'] : hints
  return [`${server} cannot be used (${message})`, ...advice].join('. ')
}

const because = (error: unknown, place: Place): string | null => {
  if (error instanceof UnfitDatabaseError) return error.reason
  const rights = causesOf(error).find(each => each instanceof MissingRightsError)
  if (rights) return withRights(rights, place)
  const refused = refusalOf(error)
  const message = causesOf(error).find(each => each instanceof pg.DatabaseError)?.message ?? ''
  if (refused) return refused(place, message)
  if (classifyFailure(error) !== 'unreachable') return null
  const [code] = codesOf(error)
  const unreachable = WHY_UNREACHABLE[code ?? '']
  if (unreachable) return unreachable(place, message)
  const { cause } = error as UnreachableError
  return withoutCode(cause instanceof Error && cause.message !== '' ? cause.message : 'no answer', place)
}

/**
 * Turns an error of the database at `url` into a sentence that says the reason and what to do; answers any other error
 * unchanged. `setting` is the name of the setting that contains the URL.
 */
export const explainDatabase = (error: unknown, url: string, setting: string): unknown => {
  if (error instanceof HeadwayError && !(error instanceof UnfitDatabaseError)) return error
  const place = placeOf(url, setting)
  const reason = because(error, place)
  if (reason === null) return error
  return new HeadwayError('database_unavailable', `Cannot use the database: ${reason}, or correct ${setting}.`, {
    cause: error,
  })
}

/** Raises `validation_failed` if `url` cannot be parsed. */
export const refuseUnreadable = (url: string, setting: string): void => void placeOf(url, setting)
