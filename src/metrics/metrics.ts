import { collectDefaultMetrics, Registry } from 'prom-client'
import type { Database } from '../database/connection.ts'
import type { InFlight } from '../http/limits/in-flight.ts'
import type { HeartbeatIntake } from '../jobs/heartbeats/intake.ts'
import type { JobCounts } from '../jobs/job-counts.ts'
import type { Sweeper } from '../jobs/sweeper.ts'
import type { TurnedAway } from '../jobs/turned-away.ts'
import type { Announcer } from '../live/announcer.ts'
import type { LiveStation } from '../live/live.ts'
import type { WebhookStation } from '../webhooks/station.ts'
import { createFlushTimes, createHeartbeatCounts } from './heartbeats.ts'
import { createDeadlineCount } from './deadlines.ts'
import { createFinishedCount } from './finished.ts'
import { createErasedCount, createSweepTimes } from './liveness.ts'
import { createReadings } from './readings.ts'
import { createRequestTimes } from './requests.ts'
import { readInFlight, readIntake, readSweeper, readJobCounts, readLive, readPools } from './sources.ts'
import { readWebhooks } from './webhooks.ts'

/** The parts of the app that keep their own numbers. */
export interface Sources {
  intake: Pick<HeartbeatIntake, 'stats' | 'oldestWaitMs'>
  sweeper: Pick<Sweeper, 'sinceLastMs'>
  turnedAway: Pick<TurnedAway, 'underPressure'>
  inFlight: Pick<InFlight, 'bytesOf' | 'bodiesTurnedAway'>
  announcer: Pick<Announcer, 'stats'>
  live: Pick<LiveStation, 'stats' | 'isListening' | 'openStreams' | 'openFeeds'>
  countJobs: () => Promise<JobCounts>
  retention: { days: number; intervalSeconds: number }
  webhooks: Pick<WebhookStation, 'stats' | 'countDeliveries'>
  /** By the names that the metrics show. */
  pools: Record<'requests' | 'heartbeats', Pick<Database, 'connections'>>
  /** Calls that wait for their turn at the pool of requests. */
  waitingCalls: () => number
}

/** They visit every open socket at each scrape, and half of them are gauges that are named like counters. */
const UNWANTED = ['handles', 'requests', 'resources'].flatMap(kind => [
  `nodejs_active_${kind}`,
  `nodejs_active_${kind}_total`,
])

/**
 * All metrics of one app, in a registry of its own, so that two apps in a process stay separate. The parts know nothing about
 * metrics: some are wrapped, the others are read at each scrape (`readFrom`).
 */
export const createMetrics = () => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  for (const name of UNWANTED) registry.removeSingleMetric(name)
  const readings = createReadings(registry)
  return {
    countHeartbeats: createHeartbeatCounts(registry),
    timeFlushes: createFlushTimes(registry),
    timeSweeps: createSweepTimes(registry),
    countErased: createErasedCount(registry),
    countFinished: createFinishedCount(registry),
    countDeadlines: createDeadlineCount(registry),
    /** Called for every request that was answered. */
    answered: createRequestTimes(registry),

    readFrom({
      intake,
      sweeper,
      turnedAway,
      inFlight,
      announcer,
      live,
      countJobs,
      retention,
      webhooks,
      pools,
      waitingCalls,
    }: Sources): void {
      readIntake(readings, intake, turnedAway)
      readInFlight(readings, inFlight)
      readSweeper(readings, sweeper)
      readLive(readings, announcer, live)
      readJobCounts(readings, countJobs, retention)
      readWebhooks(readings, webhooks)
      readPools(readings, pools, waitingCalls)
    },

    contentType: registry.contentType,
    /** All metrics in Prometheus's text format. Takes at most about a second, even if the database does not answer. */
    text: (): Promise<string> => registry.metrics(),
  }
}
