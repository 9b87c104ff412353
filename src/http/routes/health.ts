import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { HeadwayError } from '../../contract/errors.ts'
import type { Live } from '../../live/live.ts'
import { operation } from '../schemas/operation.ts'

/** Why the process should get no traffic: the name of the reason in /readyz, and its sentence. */
const REASONS = {
  database: 'The database cannot be reached.',
  statements:
    'The database answers, and refuses what the service asks of it: functions, tables or rights of this version are missing. ' +
    'The log of the database says which.',
  read_only:
    'The database is read-only: it is a standby now, or default_transaction_read_only is on. Nothing can be written.',
  heartbeats:
    'The database refuses to write heartbeats: functions, tables or rights of this version are missing. They wait in ' +
    'memory, and the log says what is missing: mend that, and do not restart.',
} as const

export type Unreadiness = keyof typeof REASONS

/** What readiness depends on. It is passed in, so that http needs no database. */
export interface Health {
  /** Null when the process should get traffic. */
  unreadiness(): Promise<Unreadiness | null>
  /** Whether this process looks for silent jobs as often as it should. */
  sweeps(): boolean
}

const alive = z.object({ status: z.literal('ok') }).meta({ id: 'Alive', examples: [{ status: 'ok' }] })

const ready = z
  .object({
    status: z.literal('ready'),
    degraded: z
      .array(z.enum(['listener', 'sweeps']))
      .describe(
        '`listener`: live updates come late, by up to 5 seconds. `sweeps`: this process no longer looks for silent jobs.',
      ),
  })
  .meta({ id: 'Ready', examples: [{ status: 'ready', degraded: [] }] })

const RETRY_AFTER_SECONDS = 5

const unready = (reason: Unreadiness) =>
  new HeadwayError('database_unavailable', REASONS[reason], { reason, retryAfterSeconds: RETRY_AFTER_SECONDS })

/** For orchestrators: is the process up, and should it get traffic? */
export const healthRoutes: FastifyPluginAsyncZod<{ health: Health; live: Pick<Live, 'isListening'> }> = async (
  app,
  { health, live },
) => {
  app.route({
    method: 'GET',
    url: '/healthz',
    schema: operation({
      id: 'isAlive',
      summary: 'Is the process up?',
      tag: 'operations',
      answers: { 200: { description: 'It is.', schema: alive } },
    }),
    handler: async () => ({ status: 'ok' }),
  })
  app.route({
    method: 'GET',
    url: '/readyz',
    schema: operation({
      id: 'isReady',
      summary: 'Should the process get traffic?',
      tag: 'operations',
      answers: { 200: { description: 'It should.', schema: ready } },
      refusals: ['database_unavailable'],
    }),
    handler: async () => {
      const reason = await health.unreadiness()
      if (reason !== null) throw unready(reason)
      // Heartbeats do not need the listener, and the reconciler does its work more slowly, so the process is degraded and not
      // down. Sweeps are made by other replicas as well, and without traffic this replica would serve nobody.
      const degraded: ('listener' | 'sweeps')[] = []
      if (!live.isListening()) degraded.push('listener')
      if (!health.sweeps()) degraded.push('sweeps')
      return { status: 'ready', degraded }
    },
  })
}
