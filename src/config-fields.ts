import { isIP } from 'node:net'
import { z } from 'zod'

// What the value of each kind of setting must be.

export const integer = (name: string, min: number, max: number, fallback: number) =>
  z.coerce
    .number({ error: `${name} must be a number` })
    .int(`${name} must be a whole number`)
    .min(min, `${name} must be at least ${min}`)
    .max(max, `${name} must be at most ${max}`)
    .default(fallback)

/** What `sslmode` may be. The driver takes any other for "with TLS, and verified", a mistyped `disable` as well. */
const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify']

const ESCAPES =
  'special characters of its password are written as percent and two digits (@ is %40, / is %2F, # is %23)'

/** Of a password with a `/`, `?` or `#` in it, the rest up to the `@` would be taken for a path, a query or a fragment. */
const endsInPassword = ({ pathname, hash, searchParams }: URL): boolean =>
  hash !== '' || pathname.includes('@') || [...searchParams.keys()].some(name => name.includes('@'))

export const postgresUrl = z.string().superRefine((value, context) => {
  const url = /^postgres(ql)?:\/\//.test(value) && URL.canParse(value) ? new URL(value) : null
  if (url === null) {
    context.addIssue(`must be a URL such as postgres://user:password@host:5432/name; ${ESCAPES}`)
    return
  }
  if (endsInPassword(url)) context.addIssue(`has an @ or a # behind its host; ${ESCAPES}`)
  const mode = url.searchParams.get('sslmode')
  if (mode !== null && !SSL_MODES.includes(mode)) {
    context.addIssue(`has an sslmode that is not known; it must be one of ${SSL_MODES.join(', ')}`)
  }
})

/** RFC 7518, section 3.2: a key for HS256 is at least as long as its hash. */
export const MIN_SECRET_BYTES = 32

export const jwksUrl = z.string().superRefine((value, context) => {
  const url = URL.canParse(value) ? new URL(value) : null
  if (!url || !/^https?:$/.test(url.protocol)) {
    context.addIssue('must be a URL such as https://login.example.com/.well-known/jwks.json')
  } else if (url.username !== '' || url.password !== '') context.addIssue('must not hold a user or a password')
})

/** Addresses and networks, or names for the usual ones (npm package proxy-addr). */
const PROXY = /^(?:loopback|linklocal|uniquelocal|[\da-fA-F.:]+(?:\/\d{1,3})?)$/

const isProxy = (text: string): boolean => {
  if (!PROXY.test(text)) return false
  const [address = '', bits] = text.split('/')
  const version = isIP(address)
  if (version === 0) return bits === undefined && /^[a-z]+$/.test(address)
  return bits === undefined || Number(bits) <= (version === 4 ? 32 : 128)
}

/**
 * An origin such as `https://app.example.com`, in the form in which a browser sends it, so that two can be compared as texts.
 */
const isOrigin = (text: string): boolean =>
  /^https?:[^*]*$/.test(text) && URL.canParse(text) && new URL(text).origin === text

/** A list of texts with commas between them. */
const list = (isGood: (item: string) => boolean, sentence: string) =>
  z
    .string()
    .transform(text => text.split(',').map(item => item.trim()))
    .refine(items => items.every(isGood), sentence)
    .default([])

export const ANY_ORIGIN = '*'

export const corsOrigins = list(
  item => item === ANY_ORIGIN || isOrigin(item),
  'must be origins such as https://app.example.com with commas between them and nothing after the host and port, or *',
)

export const proxies = list(isProxy, 'must be addresses or networks with commas between them, such as 10.0.0.0/8,::1')

/** A list of addresses and networks as above, without the names. */
export const networks = list(
  item => isProxy(item) && isIP(item.replace(/\/.*/, '')) !== 0,
  'must be addresses or networks with commas between them, such as 10.0.0.0/8,::1',
)

const KEY_BYTES = 32

/** 32 bytes in base64, with or without its padding and in either alphabet. */
const isKey = (text: string): boolean =>
  /^[\w+/-]{43}=?$/.test(text) && Buffer.from(text, 'base64').length === KEY_BYTES

/** Keys that encrypt secrets. The first one encrypts, and all of them decrypt. */
export const encryptionKeys = list(
  isKey,
  'must be keys of 32 bytes in base64 with commas between them: make one with openssl rand -base64 32',
)

/** The origin of a platform: its host is fixed, except for tests and for servers of one's own. */
export const origin = (name: string, fallback: string) =>
  z
    .string()
    .refine(text => /^https?:/.test(text) && isOrigin(text), `${name} must be an origin such as ${fallback}`)
    .default(fallback)

export const smtpUrl = z.string().superRefine((value, context) => {
  const url = /^smtps?:\/\//.test(value) && URL.canParse(value) ? new URL(value) : null
  if (!url || url.hostname === '') context.addIssue('must be a URL such as smtps://user:password@mail.example.com:465')
})

/** The base of links to the dashboard, without a slash at its end. */
export const publicUrl = z
  .string()
  .superRefine((value, context) => {
    const url = URL.canParse(value) ? new URL(value) : null
    if (!url || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '') {
      context.addIssue('must be a URL such as https://jobs.example.com')
    } else if (url.username !== '' || url.password !== '') context.addIssue('must not hold a user or a password')
  })
  .transform(value => value.replace(/\/+$/, ''))

/** RFC 5322 allows more; one address, which may stand after a name: `Headway <headway@example.com>`. */
export const mailFrom = z
  .string()
  .regex(/^(?:[^<>\r\n"]*<)?[^\s@<>]+@[^\s@<>]+>?$/, 'must be an address such as Headway <headway@example.com>')

export const on = z.enum(['true', 'false']).transform(value => value === 'true')
