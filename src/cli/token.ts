import { BASE_PATH } from '../contract/http.ts'
import { InvalidArgumentError, Option } from 'commander'
import type { Command } from 'commander'
import { SignJWT } from 'jose'
import type { z } from 'zod'
import { readAuthConfig } from '../config.ts'
import type { AuthConfig } from '../config.ts'
import { HeadwayError } from '../contract/errors.ts'
import { claimsSchema } from '../http/tokens/claims.ts'
import { ALL_FEATURES, type Claims, FEATURES } from '../contract/tokens.ts'
import { parseDuration } from './duration.ts'
import type { Surroundings } from './surroundings.ts'

interface TokenOptions {
  tenant: string
  organization?: string
  user?: string
  features: string[]
  job?: string
  /** In seconds; Infinity is never. */
  expires: number
}

/** Refuses a value that the service would refuse in the token. */
const claim =
  (schema: z.ZodType<string | undefined>) =>
  (value: string): string => {
    const parsed = schema.safeParse(value)
    if (!parsed.success) throw new InvalidArgumentError(`It ${parsed.error.issues[0]?.message ?? 'is wrong'}.`)
    return parsed.data ?? value
  }

/** Services ignore unknown features, so a typing error would not be noticed later. */
const parseFeatures = (list: string): string[] => {
  const known: string[] = [...FEATURES, ALL_FEATURES]
  return list.split(',').map(name => {
    const feature = name.trim().replace(/^(?!progress\.)/, 'progress.')
    if (known.includes(feature)) return feature
    const choice = known.map(each => each.slice('progress.'.length)).join(', ')
    throw new InvalidArgumentError(`Choose among ${choice}, with commas between them.`)
  })
}

/** Seconds; Infinity is never. */
const parseExpires = (text: string): number => (text === 'never' ? Infinity : parseDuration(text))

/** The secret is not read from the command line, because every user of the machine can read that. */
const readSecret = (environment: NodeJS.ProcessEnv): AuthConfig & { keys: { secret: string } } => {
  const auth = readAuthConfig(environment)
  if (auth && 'secret' in auth.keys) return { ...auth, keys: auth.keys }
  throw new HeadwayError(
    'validation_failed',
    auth
      ? 'With AUTH_JWKS_URL tokens come from the issuer who has the private keys. This command signs with AUTH_JWT_SECRET.'
      : 'Set AUTH_JWT_SECRET to the secret of the service: tokens are signed with it.',
  )
}

const mint = async (options: TokenOptions, { keys, issuer, audience }: ReturnType<typeof readSecret>) => {
  const { tenant, organization, user, features, job, expires } = options
  const now = Math.floor(Date.now() / 1000)
  const claims: Claims = {
    tenant_id: tenant,
    ...(organization !== undefined && { organization_id: organization }),
    ...(user !== undefined && { sub: user }),
    features,
    ...(job !== undefined && { job_id: job }),
  }
  const token = new SignJWT(claims).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).setIssuedAt(now)
  if (issuer !== null) token.setIssuer(issuer)
  if (audience !== null) token.setAudience(audience)
  if (expires !== Infinity) token.setExpirationTime(now + expires)
  return token.sign(Buffer.from(keys.secret))
}

const EXAMPLES = `
The secret is read from AUTH_JWT_SECRET, and so are AUTH_ISSUER and AUTH_AUDIENCE where they are set: use the environment
of the service. Only the token is written to standard output.

Features: view, create, update, cancel, manage (all organizations of the tenant, and erasing), * (all of them).

Examples:
  # A dashboard, for an hour
  headway token --tenant 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a01

  # A service that creates jobs and works on them, for 90 days
  headway token --tenant 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a01 --user importer --features view,create,update --expires 90d

  # A worker that may report for one job and its partitions, and do nothing else
  headway token --tenant 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a01 --job 0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55 --features update

  # In a call
  curl -H "authorization: Bearer $(headway token --tenant …)" http://127.0.0.1:3000${BASE_PATH}/jobs
`

/** `headway token`: prints a token for a service that checks tokens with AUTH_JWT_SECRET. */
export const addTokenCommand = (program: Command, { environment, out }: Surroundings): void => {
  const { tenant_id, organization_id, sub, job_id } = claimsSchema.shape
  program
    .command('token')
    .description('make a token for callers of the service')
    .requiredOption('--tenant <uuid>', 'the tenant whose jobs it is for', claim(tenant_id))
    .option('--organization <uuid>', 'the organization; without it, jobs that belong to none', claim(organization_id))
    .option('--user <text>', "who it is, for the jobs' history", claim(sub))
    .addOption(
      new Option('--features <list>', 'what it allows, with commas between')
        .default(['progress.view'], 'view')
        .argParser(parseFeatures),
    )
    .option('--job <uuid>', 'limit it to this job and its partitions', claim(job_id))
    .addOption(
      new Option('--expires <duration>', 'how long it is good for: 90s, 15m, 1h, 30d, 8w, or never')
        .default(3_600, '1h')
        .argParser(parseExpires),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (options: TokenOptions) => {
      out(`${await mint(options, readSecret(environment))}\n`)
    })
}
