import { letGoOf } from '../database/failures.ts'
import { NoTurnError, Turns, type Party, type TurnsOptions } from '../turns/turns.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Jobs } from './use-cases.ts'

/** `wide` is what reads or writes many rows: lists, statistics, snapshots, batches that bring their partitions. */
export type Width = 'narrow' | 'wide'

/**
 * Runs a use case when it is its party's turn, which lasts until the server has let go of what the use case held there. Raises
 * `rate_limited` and `overloaded`.
 */
export type InTurn = <T>(party: Party, width: Width, useCase: () => Promise<T>) => Promise<T>

export interface CallTurns {
  inTurn: InTurn
  /** Calls that wait. */
  waiting: () => number
}

/** Of one identity. More than a browser or a worker sends at once; a flood is refused without waiting. */
const MAX_WAITING_PER_CALLER = 1_000
const PATIENCE_MS = 5_000

/** The defaults are what the documentation promises; tests have less. */
export type Waiting = Partial<Pick<TurnsOptions, 'maxWaitingPerCaller' | 'patienceMs'>>

const refusalOfTurn = ({ reason }: NoTurnError): HeadwayError =>
  reason === 'line'
    ? new HeadwayError('rate_limited', 'Too many of your calls wait for the database: let some be answered first.', {
        retryAfterSeconds: 1,
      })
    : new HeadwayError('overloaded', 'The database has too much to do at the moment: try again later.', {
        retryAfterSeconds: 2,
      })

/**
 * Shares the connections of the pool for calls among tenants, and among the identities of each. One connection stays for what
 * the service does by itself; one more for the tenant that comes next. While several tenants call, none has more than a third.
 * What is wide has half of the pool, of which one tenant among several has a third: a database with few cores feels each.
 */
export const createInTurn = (poolSize: number, waiting: Waiting = {}): CallTurns => {
  const { maxWaitingPerCaller = MAX_WAITING_PER_CALLER, patienceMs = PATIENCE_MS } = waiting
  const atLeastOne = (count: number) => Math.max(1, count)
  const turns = new Turns({
    size: atLeastOne(poolSize - 1),
    perTenantAlone: atLeastOne(poolSize - 2),
    perTenant: atLeastOne(Math.floor(poolSize / 3)),
    maxWaitingPerCaller,
    patienceMs,
  })
  const half = atLeastOne(Math.floor(poolSize / 2))
  const wideTurns = new Turns({
    size: half,
    perTenantAlone: atLeastOne(half - 1),
    perTenant: atLeastOne(Math.floor(half / 3)),
    maxWaitingPerCaller,
    patienceMs,
  })

  const take = async (party: Party, width: Width): Promise<() => void> => {
    const endWide = width === 'wide' ? await wideTurns.take(party) : null
    try {
      const end = await turns.take(party)
      return () => {
        end()
        endWide?.()
      }
    } catch (error) {
      endWide?.()
      throw error
    }
  }

  const inTurn: InTurn = async (party, width, useCase) => {
    const end = await take(party, width).catch((error: unknown) => {
      throw error instanceof NoTurnError ? refusalOfTurn(error) : error
    })
    let letGo: Promise<void> | null = null
    try {
      return await useCase()
    } catch (error) {
      letGo = letGoOf(error)
      throw error
    } finally {
      if (letGo) void letGo.then(end)
      else end()
    }
  }
  return { inTurn, waiting: () => wideTurns.waiting + turns.waiting }
}

/** A batch with more partitions at once writes for as long as a list reads. */
const FEW_PARTITIONS = 20

/** The same use cases, each in its caller's turn. Heartbeats have a queue of their own (see `HeartbeatIntake`). */
export const takeTurns = (jobs: Jobs, inTurn: InTurn): Jobs => ({
  heartbeat: (identity, heartbeat) => jobs.heartbeat(identity, heartbeat),
  heartbeats: (identity, heartbeats) => jobs.heartbeats(identity, heartbeats),

  create(identity, input, idempotencyKey) {
    const width = (input.partitions?.length ?? 0) > FEW_PARTITIONS ? 'wide' : 'narrow'
    return inTurn(identity, width, () => jobs.create(identity, input, idempotencyKey))
  },
  get: (identity, jobId) => inTurn(identity, 'narrow', () => jobs.get(identity, jobId)),
  progress: (identity, jobId, include) => inTurn(identity, 'narrow', () => jobs.progress(identity, jobId, include)),
  list: (identity, query) => inTurn(identity, 'wide', () => jobs.list(identity, query)),
  active: (identity, recentSeconds) => inTurn(identity, 'wide', () => jobs.active(identity, recentSeconds)),
  events: (identity, jobId, query) => inTurn(identity, 'wide', () => jobs.events(identity, jobId, query)),
  stats: (identity, query) => inTurn(identity, 'wide', () => jobs.stats(identity, query)),

  start: (identity, jobId, input) => inTurn(identity, 'narrow', () => jobs.start(identity, jobId, input)),
  complete: (identity, jobId, input) => inTurn(identity, 'narrow', () => jobs.complete(identity, jobId, input)),
  fail: (identity, jobId, input) => inTurn(identity, 'narrow', () => jobs.fail(identity, jobId, input)),
  cancel: (identity, jobId) => inTurn(identity, 'narrow', () => jobs.cancel(identity, jobId)),
  acknowledgeCancel: (identity, jobId, input) =>
    inTurn(identity, 'narrow', () => jobs.acknowledgeCancel(identity, jobId, input)),
  retry: (identity, jobId) => inTurn(identity, 'narrow', () => jobs.retry(identity, jobId)),
  purge: (identity, jobId) => inTurn(identity, 'narrow', () => jobs.purge(identity, jobId)),
})
