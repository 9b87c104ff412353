import { z } from 'zod'
import {
  ANY_ORIGIN,
  corsOrigins,
  encryptionKeys,
  integer,
  jwksUrl,
  mailFrom,
  MIN_SECRET_BYTES,
  networks,
  on,
  origin,
  postgresUrl,
  proxies,
  publicUrl,
  smtpUrl,
} from './config-fields.ts'
import { HeadwayError } from './contract/errors.ts'

const LOOPBACK_HOSTS = new Set(['localhost', '127.0.0.1', '::1'])

export const isLoopback = (host: string): boolean => LOOPBACK_HOSTS.has(host)

/**
 * How tokens are checked: with a secret that is shared with their issuer, or with the public keys that the issuer publishes.
 */
const authFields = {
  AUTH_JWT_SECRET: z
    .string()
    .refine(
      value => Buffer.byteLength(value) >= MIN_SECRET_BYTES,
      `must have at least ${MIN_SECRET_BYTES} bytes: make one with openssl rand -base64 48`,
    )
    .optional(),
  AUTH_JWKS_URL: jwksUrl.optional(),
  AUTH_ISSUER: z.string().optional(),
  AUTH_AUDIENCE: z.string().optional(),
}

const environmentSchema = z
  .object({
    DATABASE_URL: postgresUrl.optional(),
    DATABASE_LISTEN_URL: postgresUrl.optional(),
    DATABASE_POOL_SIZE: integer('DATABASE_POOL_SIZE', 2, 100, 10),
    DATABASE_PREPARED_STATEMENTS: on.default(true),
    HEADWAY_DATA_DIR: z.string().min(1).default('.headway'),
    HOST: z.string().min(1).default('127.0.0.1'),
    PORT: integer('PORT', 0, 65_535, 3000),
    LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
    AUTH_MODE: z.enum(['none']).optional(),
    ...authFields,
    CORS_ORIGIN: corsOrigins,
    TRUSTED_PROXIES: proxies,
    STALLED_AFTER_SECONDS: integer('STALLED_AFTER_SECONDS', 1, 86_400, 30),
    STALE_JOB_TIMEOUT_SECONDS: integer('STALE_JOB_TIMEOUT_SECONDS', 1, 86_400, 60),
    SWEEP_SCHEDULE: z.string().default('*/5 * * * * *'),
    RETENTION_DAYS: integer('RETENTION_DAYS', 0, 36_500, 30),
    RETENTION_SCHEDULE: z.string().default('17 * * * *'),
    HEARTBEAT_INTERVAL_MS: integer('HEARTBEAT_INTERVAL_MS', 100, 3_600_000, 5000),
    LIVE_INTERVAL_MS: integer('LIVE_INTERVAL_MS', 50, 60_000, 500),
    LIVE_KEEPALIVE_SECONDS: integer('LIVE_KEEPALIVE_SECONDS', 1, 3600, 15),
    SHUTDOWN_GRACE_SECONDS: integer('SHUTDOWN_GRACE_SECONDS', 1, 600, 10),
    MAX_STREAMS: integer('MAX_STREAMS', 1, 1_000_000, 20_000),
    MAX_STREAMS_PER_IDENTITY: integer('MAX_STREAMS_PER_IDENTITY', 1, 1_000_000, 2_000),
    RATE_LIMIT_PER_SECOND: integer('RATE_LIMIT_PER_SECOND', 0, 1_000_000, 1_000),
    RATE_LIMIT_UNAUTHENTICATED_PER_SECOND: integer('RATE_LIMIT_UNAUTHENTICATED_PER_SECOND', 0, 1_000_000, 100),
    WEBHOOK_ALLOWED_NETWORKS: networks,
    WEBHOOK_RECORD_DAYS: integer('WEBHOOK_RECORD_DAYS', 1, 3650, 7),
    PUBLIC_URL: publicUrl.optional(),
    ENCRYPTION_KEYS: encryptionKeys,
    SMTP_URL: smtpUrl.optional(),
    MAIL_FROM: mailFrom.optional(),
    SLACK_ORIGIN: origin('SLACK_ORIGIN', 'https://slack.com'),
    DISCORD_ORIGIN: origin('DISCORD_ORIGIN', 'https://discord.com'),
    TELEGRAM_ORIGIN: origin('TELEGRAM_ORIGIN', 'https://api.telegram.org'),
    MAX_EVENT_LOOP_DELAY_MS: integer('MAX_EVENT_LOOP_DELAY_MS', 0, 60_000, 1000),
  })
  .superRefine((env, context) => {
    const complain = (name: string, message: string) =>
      context.addIssue({ code: 'custom', path: [name], message: `${name} ${message}` })
    const checksTokens = env.AUTH_JWT_SECRET !== undefined || env.AUTH_JWKS_URL !== undefined
    if (env.AUTH_JWT_SECRET !== undefined && env.AUTH_JWKS_URL !== undefined) {
      complain('AUTH_JWKS_URL', 'and AUTH_JWT_SECRET are two ways to check tokens: keep the one that your issuer uses')
    }
    if (!checksTokens) {
      // An operator who sets these believes that the service asks for tokens, so it must not start without asking for them.
      for (const name of ['AUTH_ISSUER', 'AUTH_AUDIENCE'] as const) {
        if (env[name] !== undefined)
          complain(name, 'is checked in tokens: set AUTH_JWT_SECRET or AUTH_JWKS_URL as well')
      }
    }
    if (checksTokens && env.AUTH_MODE === 'none') {
      complain('AUTH_MODE', 'is none, which lets everyone in, but tokens are to be checked as well: unset one of them')
    }
    if (env.SMTP_URL !== undefined && env.MAIL_FROM === undefined) {
      complain('MAIL_FROM', 'is missing: mail is sent from it through SMTP_URL')
    }
    if (env.CORS_ORIGIN.includes(ANY_ORIGIN)) {
      if (env.CORS_ORIGIN.length > 1) complain('CORS_ORIGIN', 'must be either * or a list of origins')
      if (!checksTokens) {
        complain(
          'CORS_ORIGIN',
          'is *, and without tokens every web page that anyone here looks at could read and change every job: name the ' +
            'origins of your own pages, or let tokens be asked for (AUTH_JWT_SECRET or AUTH_JWKS_URL)',
        )
      }
    }
    if (!checksTokens && env.AUTH_MODE !== 'none' && !isLoopback(env.HOST)) {
      complain(
        'HOST',
        'is not a loopback address, and without authentication anyone who reaches it could read and change every job: ' +
          'let tokens be asked for (AUTH_JWT_SECRET or AUTH_JWKS_URL), set AUTH_MODE=none if something in front of Headway ' +
          'decides who may come in, or, outside of a container, use 127.0.0.1',
      )
    }
  })

/** How the tokens of callers are checked. */
export interface AuthConfig {
  /** The secret for HS256, or the address of the public keys for RS256, ES256 and EdDSA. */
  keys: { secret: string } | { jwksUrl: string }
  /** null: not checked. */
  issuer: string | null
  audience: string | null
}

type AuthEnvironment = { [Name in keyof typeof authFields]?: string | undefined }

const authOf = (env: AuthEnvironment): AuthConfig | null => {
  const {
    AUTH_JWT_SECRET: secret,
    AUTH_JWKS_URL: url,
    AUTH_ISSUER: issuer = null,
    AUTH_AUDIENCE: audience = null,
  } = env
  if (secret !== undefined) return { keys: { secret }, issuer, audience }
  return url === undefined ? null : { keys: { jwksUrl: url }, issuer, audience }
}

const parse = <Schema extends z.ZodType>(schema: Schema, environment: NodeJS.ProcessEnv): z.output<Schema> => {
  const given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''),
  )
  const parsed = schema.safeParse(given)
  if (parsed.success) return parsed.data
  const sentences = parsed.error.issues.map(issue => {
    const name = issue.path.join('.')
    if (issue.message.startsWith(name)) return issue.message
    return /^[a-z]/.test(issue.message) ? `${name} ${issue.message}` : `${name}: ${issue.message}`
  })
  throw new HeadwayError('validation_failed', `The configuration is not usable. ${sentences.join('. ')}.`)
}

/**
 * The `AUTH_…` settings only, for commands that make tokens; null when the service asks for no tokens. Raises like
 * `readConfig`.
 */
export const readAuthConfig = (environment: NodeJS.ProcessEnv): AuthConfig | null =>
  authOf(parse(z.object(authFields), environment))

/** The names of all settings. */
export const SETTINGS: readonly string[] = Object.keys(environmentSchema.shape)

/** All settings, typed. Times keep the unit of their name. */
export type Config = ReturnType<typeof readConfig>

/**
 * Reads the settings from environment variables; an empty variable counts as unset. Raises a `HeadwayError` whose message names
 * every bad setting and contains no secret.
 */
export const readConfig = (environment: NodeJS.ProcessEnv) => {
  const env = parse(environmentSchema, environment)
  return {
    databaseUrl: env.DATABASE_URL ?? null,
    databaseListenUrl: env.DATABASE_LISTEN_URL ?? null,
    databasePoolSize: env.DATABASE_POOL_SIZE,
    preparedStatements: env.DATABASE_PREPARED_STATEMENTS,
    dataDir: env.HEADWAY_DATA_DIR,
    host: env.HOST,
    port: env.PORT,
    logLevel: env.LOG_LEVEL,
    authMode: env.AUTH_MODE ?? null,
    /** null: no tokens are asked for. */
    auth: authOf(env),
    /** Web pages that may call: exact origins, or `*` alone. Empty: only the service's own pages. */
    corsOrigins: env.CORS_ORIGIN,
    /** Proxies whose `x-forwarded-for` is believed. */
    trustedProxies: env.TRUSTED_PROXIES,
    stalledAfterSeconds: env.STALLED_AFTER_SECONDS,
    staleJobTimeoutSeconds: env.STALE_JOB_TIMEOUT_SECONDS,
    sweepSchedule: env.SWEEP_SCHEDULE,
    retentionDays: env.RETENTION_DAYS,
    retentionSchedule: env.RETENTION_SCHEDULE,
    heartbeatIntervalMs: env.HEARTBEAT_INTERVAL_MS,
    liveIntervalMs: env.LIVE_INTERVAL_MS,
    liveKeepaliveSeconds: env.LIVE_KEEPALIVE_SECONDS,
    shutdownGraceSeconds: env.SHUTDOWN_GRACE_SECONDS,
    maxStreams: env.MAX_STREAMS,
    maxStreamsPerIdentity: env.MAX_STREAMS_PER_IDENTITY,
    /** Requests per second of one identity; 0: no limit. */
    rateLimitPerSecond: env.RATE_LIMIT_PER_SECOND,
    /** Requests per second without a valid token from one address; 0: no limit. */
    rateLimitUnauthenticatedPerSecond: env.RATE_LIMIT_UNAUTHENTICATED_PER_SECOND,
    /** Private addresses that webhooks may be sent to. */
    webhookAllowedNetworks: env.WEBHOOK_ALLOWED_NETWORKS,
    /** How long the record of a delivery is kept. */
    webhookRecordDays: env.WEBHOOK_RECORD_DAYS,
    /** Where people reach the dashboard; null: messages have no link. */
    publicUrl: env.PUBLIC_URL ?? null,
    /** Keys for secrets in the database: the first one encrypts, and all of them decrypt. */
    encryptionKeys: env.ENCRYPTION_KEYS.map(key => Buffer.from(key, 'base64')),
    /** null: no mail is sent. */
    mail: env.SMTP_URL !== undefined && env.MAIL_FROM !== undefined ? { url: env.SMTP_URL, from: env.MAIL_FROM } : null,
    /** Where the platforms are. */
    platforms: { slack: env.SLACK_ORIGIN, discord: env.DISCORD_ORIGIN, telegram: env.TELEGRAM_ORIGIN },
    maxEventLoopDelayMs: env.MAX_EVENT_LOOP_DELAY_MS,
  }
}
