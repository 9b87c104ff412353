import { restAfter, waitWhereLocked, type RetentionOptions } from '../jobs/retention.ts'
import type { Outbox } from './outbox.ts'

export interface DeliveryRetentionOptions extends Pick<RetentionOptions, 'log' | 'isClosing'> {
  outbox: Pick<Outbox, 'erase'>
  recordDays: number
}

/** Ends deliveries that have waited too long, and erases records that are older than `recordDays`. */
export const createDeliveryRetention =
  ({ outbox, recordDays, log, isClosing = () => false }: DeliveryRetentionOptions) =>
  async (): Promise<void> => {
    for (let more = true; more && !isClosing();) {
      const begunMs = performance.now()
      more = await waitWhereLocked(log, 'webhook deliveries', false, () => outbox.erase(recordDays))
      if (more) await restAfter(performance.now() - begunMs)
    }
  }
