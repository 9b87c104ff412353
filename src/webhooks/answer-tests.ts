import { setTimeout } from 'node:timers/promises'
import type { DeliveryDocument } from '../contract/webhook.ts'
import type { Webhooks } from './webhook.ts'

/** Whoever sends a test waits this long for what became of it. A platform that is slower is asked for by the deliveries. */
const PATIENCE_MS = 5_000
const LOOK_MS = 100

/** Whether an attempt was made and has ended. */
const isTold = ({ status, attemptedAt, nextAttemptAt }: DeliveryDocument): boolean =>
  status !== 'waiting' || (attemptedAt !== null && nextAttemptAt !== null)

/**
 * The same use cases, whose test of a chat, Teams or mail answers what became of the first attempt. A test of the kind `webhook`
 * answers at once, as it always did: its receiver sees the message itself, and may take fifteen seconds to answer. Each look is a call of its own, so that a slow receiver
 * keeps no turn.
 */
export const answerTests = (webhooks: Webhooks, isClosing: () => boolean): Webhooks => ({
  ...webhooks,
  async test(identity, id) {
    const { kind } = await webhooks.get(identity, id)
    let delivery = await webhooks.test(identity, id)
    if (kind === 'webhook') return delivery
    const untilMs = performance.now() + PATIENCE_MS
    while (!isTold(delivery) && performance.now() < untilMs && !isClosing()) {
      await setTimeout(LOOK_MS)
      delivery = await webhooks.delivery(identity, id, delivery.id)
    }
    return delivery
  },
})
