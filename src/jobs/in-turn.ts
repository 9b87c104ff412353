import { letGoOf } from '../database/failures.ts'
import { NoTurnError, Turns, type Party, type TurnsOptions } from '../turns/turns.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Jobs } from './use-cases.ts'

/** `wide` calls read or write many rows: lists, statistics, snapshots, batches that are created with their partitions. */
export type Width = 'narrow' | 'wide'

/**
 * Runs a use case when it is its party's turn. The turn lasts until the database has ended the statements of the use case, also
 * after an error. Raises `rate_limited` and `overloaded`.
 */
export type InTurn = <T>(party: Party, width: Width, useCase: () => Promise<T>) => Promise<T>

export interface CallTurns {
  inTurn: InTurn
  /** Number of calls that wait for their turn. */
  waiting: () => number
}

/** Of one identity. A browser or a worker sends fewer at once; a flood of calls is refused without waiting. */
const MAX_WAITING_PER_CALLER = 1_000
const PATIENCE_MS = 5_000

/** A tenth of the patience, so that slow statements do not refuse those that wait behind them. */
const LONGEST_REST_MS = PATIENCE_MS / 10

/** The defaults are documented; tests use smaller values. */
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
 * Shares the pool's connections for calls among tenants, and among the identities of each tenant. One connection is kept for
 * the service's own work, and one more for the next tenant that comes. While several tenants call, each has a tenth, at least
 * one: a database with few cores slows for all when one tenant has several statements running. Who has few calls, at most four
 * tenths, waits for none of its own, unless they are wide. Wide calls have half of the pool.
 */
export const createInTurn = (poolSize: number, waiting: Waiting = {}): CallTurns => {
  const { maxWaitingPerCaller = MAX_WAITING_PER_CALLER, patienceMs = PATIENCE_MS } = waiting
  const atLeastOne = (count: number) => Math.max(1, count)
  const turns = new Turns({
    size: atLeastOne(poolSize - 1),
    perTenantAlone: atLeastOne(poolSize - 2),
    perTenant: atLeastOne(Math.floor(poolSize / 10)),
    perTenantOfFew: atLeastOne(Math.floor((4 * poolSize) / 10)),
    maxWaitingPerCaller,
    patienceMs,
  })
  const half = atLeastOne(Math.floor(poolSize / 2))
  const wideTurns = new Turns({
    size: half,
    perTenantAlone: atLeastOne(half - 1),
    perTenant: atLeastOne(Math.floor(poolSize / 10)),
    longestRestMs: LONGEST_REST_MS,
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

/** A batch that is created with more partitions writes for as long as a list reads. */
const FEW_PARTITIONS = 20

/** The same use cases, each run in its caller's turn. Heartbeats have their own queue (see `HeartbeatIntake`). */
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
  partitions: (identity, batchId, since) => inTurn(identity, 'wide', () => jobs.partitions(identity, batchId, since)),
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
