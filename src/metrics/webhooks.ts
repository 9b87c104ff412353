import type { WebhookStation } from '../webhooks/station.ts'
import type { Readings } from './readings.ts'
import { shareReading } from './shared-reading.ts'

const COUNTS_PATIENCE_MS = 1_000
const COUNTS_EVERY_MS = 15_000

export const readWebhooks = (
  { counter, series }: Readings,
  { stats, countDeliveries }: Pick<WebhookStation, 'stats' | 'countDeliveries'>,
): void => {
  counter('headway_webhook_delivered_total', 'Webhook messages that were delivered', () => stats().delivered)
  counter('headway_webhook_failed_total', 'Attempts that failed, to be made again', () => stats().failed)
  counter('headway_webhook_dead_total', 'Webhook messages that were given up', () => stats().dead)
  counter(
    'headway_webhook_dropped_total',
    'Webhook messages that were left out because too many of their tenant waited',
    () => stats().dropped,
  )
  const counts = shareReading({ read: countDeliveries, everyMs: COUNTS_EVERY_MS, patienceMs: COUNTS_PATIENCE_MS })
  series(
    'headway_webhook_waiting',
    'Webhook messages that wait, of all tenants; the same at every replica',
    [],
    async () => {
      const known = await counts()
      return known ? [[{}, known.value.waiting]] : []
    },
  )
  series(
    'headway_webhook_oldest_wait_seconds',
    'How long the oldest message that is due has waited for its first attempt, where its receiver is not failing',
    [],
    async () => {
      const known = await counts()
      return known ? [[{}, known.value.overdueSeconds]] : []
    },
  )
}
