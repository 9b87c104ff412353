import { z } from 'zod'
import { HeadwayError } from './errors.ts'

const integer = (name: string, min: number, max: number, fallback: number) =>
  z.coerce
    .number({ error: `${name} must be a number` })
    .int(`${name} must be a whole number`)
    .min(min, `${name} must be at least ${min}`)
    .max(max, `${name} must be at most ${max}`)
    .default(fallback)

const LOOPBACK_HOSTS = new Set(['localhost', '127.0.0.1', '::1'])

export const isLoopback = (host: string): boolean => LOOPBACK_HOSTS.has(host)

const postgresUrl = z
  .string()
  .refine(
    value => /^postgres(ql)?:\/\//.test(value) && URL.canParse(value),
    'must be a URL such as postgres://user:password@host:5432/name',
  )
const notYet = z.undefined('is not supported by this version, which knows no tokens yet: unset it').optional()
const on = z.enum(['true', 'false']).transform(value => value === 'true')

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
    // Whoever sets these believes that the service asks for tokens: it must not start without doing so.
    AUTH_JWT_SECRET: notYet,
    AUTH_JWKS_URL: notYet,
    STALLED_AFTER_SECONDS: integer('STALLED_AFTER_SECONDS', 1, 86_400, 30),
    STALE_JOB_TIMEOUT_SECONDS: integer('STALE_JOB_TIMEOUT_SECONDS', 1, 86_400, 60),
    SWEEP_SCHEDULE: z.string().default('*/5 * * * * *'),
    RETENTION_DAYS: integer('RETENTION_DAYS', 1, 36_500, 30),
    RETENTION_SCHEDULE: z.string().default('17 * * * *'),
    HEARTBEAT_INTERVAL_MS: integer('HEARTBEAT_INTERVAL_MS', 100, 3_600_000, 5000),
    LIVE_INTERVAL_MS: integer('LIVE_INTERVAL_MS', 50, 60_000, 500),
    LIVE_KEEPALIVE_SECONDS: integer('LIVE_KEEPALIVE_SECONDS', 1, 3600, 15),
    SHUTDOWN_GRACE_SECONDS: integer('SHUTDOWN_GRACE_SECONDS', 1, 600, 10),
    MAX_STREAMS: integer('MAX_STREAMS', 1, 1_000_000, 20_000),
    MAX_EVENT_LOOP_DELAY_MS: integer('MAX_EVENT_LOOP_DELAY_MS', 0, 60_000, 1000),
  })
  .refine(env => env.AUTH_MODE === 'none' || isLoopback(env.HOST), {
    path: ['HOST'],
    message:
      'is not a loopback address, and without authentication anyone who reaches it could read and change every job: ' +
      'use 127.0.0.1, or set AUTH_MODE=none if something in front of Headway decides who may come in',
  })

/** All settings, typed. Times keep the unit of their name. */
export type Config = ReturnType<typeof readConfig>

/**
 * Reads the settings from environment variables; an empty variable counts as unset.
 * Raises a `HeadwayError` whose message names every bad one.
 */
export const readConfig = (environment: NodeJS.ProcessEnv) => {
  const given = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''),
  )
  const parsed = environmentSchema.safeParse(given)
  if (!parsed.success) {
    const sentences = parsed.error.issues.map(issue => {
      const name = issue.path.join('.')
      if (issue.message.startsWith(name)) return issue.message
      return /^[a-z]/.test(issue.message) ? `${name} ${issue.message}` : `${name}: ${issue.message}`
    })
    throw new HeadwayError('validation_failed', `The configuration is not usable. ${sentences.join('. ')}.`)
  }
  const env = parsed.data
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
    maxEventLoopDelayMs: env.MAX_EVENT_LOOP_DELAY_MS,
  }
}
