import type { DestinationKind, DestinationSettings } from '../contract/destinations.ts'
import { backoffSeconds } from './backoff.ts'
import type { AttemptResult, ClaimedDelivery } from './outbox.ts'
import type { RequestResult } from './request.ts'
import { SealError, type Seal } from './seal.ts'

/** Makes one attempt. Never rejects for what a receiver does. */
export type Send = (delivery: ClaimedDelivery, signal: AbortSignal) => Promise<AttemptResult>

/** A chat that was away for hours is told soon after it is back, because only the newest state waits for it. */
const MOST_CHAT_BACKOFF_SECONDS = 300

/** The parts of results that all destinations have in common. */
export interface Results {
  delivered: (responseStatus: number | null, more?: { error?: string; pauseSeconds?: number }) => AttemptResult
  failed: (
    responseStatus: number | null,
    error: string,
    more?: { pauseSeconds?: number; mostDelaySeconds?: number },
  ) => AttemptResult
  /** The receiver is gone, or refuses the secret for good. */
  gone: (responseStatus: number | null, error: string) => AttemptResult
  held: (responseStatus: number | null, error: string, pauseSeconds: number) => AttemptResult
  /** There was no answer. */
  unanswered: (
    answer: Extract<RequestResult, { status: null }>,
    more?: { pauseSeconds?: number; mostDelaySeconds?: number },
  ) => AttemptResult
}

export const CHAT_BACKOFF = { mostDelaySeconds: MOST_CHAT_BACKOFF_SECONDS }

/** `random` is from 0 to 1, for jitter. */
export const resultsOf = ({ attempts }: ClaimedDelivery, random: () => number): Results => {
  const results: Results = {
    delivered: (responseStatus, { error, pauseSeconds = 0 } = {}) => ({
      outcome: 'delivered',
      responseStatus,
      error: error ?? null,
      delaySeconds: 0,
      pauseSeconds,
    }),
    failed: (responseStatus, error, { pauseSeconds = 0, mostDelaySeconds = Infinity } = {}) => ({
      outcome: 'failed',
      responseStatus,
      error,
      delaySeconds: Math.max(pauseSeconds, Math.min(mostDelaySeconds, backoffSeconds(attempts, random()))),
      pauseSeconds,
    }),
    gone: (responseStatus, error) => ({ outcome: 'gone', responseStatus, error, delaySeconds: 0, pauseSeconds: 0 }),
    held: (responseStatus, error, pauseSeconds) => ({
      outcome: 'held',
      responseStatus,
      error,
      delaySeconds: 0,
      pauseSeconds,
    }),
    unanswered: ({ aborted, error }, more) =>
      aborted
        ? { outcome: 'released', responseStatus: null, error: null, delaySeconds: 0, pauseSeconds: 0 }
        : results.failed(null, error, more),
  }
  return results
}

/** All settings of a delivery's destination, its secrets included. Raises `SealError`. */
export const openSettings = (
  { settings, sealedSettings, webhookId }: Pick<ClaimedDelivery, 'settings' | 'sealedSettings' | 'webhookId'>,
  seal: Seal,
): DestinationSettings => {
  if (sealedSettings === null) return settings
  const secrets = JSON.parse(seal.open(sealedSettings, { webhookId, column: 'settings' })) as DestinationSettings
  return { ...settings, ...secrets }
}

/** Sends each delivery in the way of its kind. A secret that does not open is a failure that the record tells of. */
export const createSend =
  (kinds: Readonly<Record<DestinationKind, Send>>, random: () => number): Send =>
  async (delivery, signal) => {
    try {
      return await kinds[delivery.kind](delivery, signal)
    } catch (error) {
      if (error instanceof SealError) return resultsOf(delivery, random).failed(null, error.message)
      throw error
    }
  }
