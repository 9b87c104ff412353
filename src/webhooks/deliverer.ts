import { setMaxListeners } from 'node:events'
import type { Logger } from 'pino'
import type { ClaimedDelivery, Outbox } from './outbox.ts'
import type { Send } from './send.ts'

export interface DelivererOptions {
  outbox: Outbox
  send: Send
  log: Logger
  /** How often it looks for due deliveries without a hint. */
  pollMs?: number
  /** Attempts of this process that may be in flight at the same time. */
  most?: number
}

export interface DelivererStats {
  delivered: number
  failed: number
  dead: number
  /** Messages that this process left out because too many of their tenant waited. */
  dropped: number
}

export interface Deliverer {
  start(): void
  /** Jobs have changed, and deliveries may be due. This is only a hint: polling finds them as well. */
  wake(): void
  /** Webhooks or deliveries have changed: looks at once, also if there was no webhook before. */
  look(): void
  stats(): Readonly<DelivererStats>
  /** Lets attempts end for `graceMs`, then aborts them and returns their deliveries, so that another process can take them. */
  close(graceMs: number): Promise<void>
}

/** Changes come in groups, and one statement takes all that a group has queued. */
const GATHER_MS = 20

/** How often the log tells of dropped messages, which come by thousands. */
const SAY_DROPPED_MS = 60_000

/**
 * Sends the messages in the outbox. Any number of processes may do so: a delivery is claimed by one, and taken over when that
 * one dies.
 */
export const createDeliverer = (options: DelivererOptions): Deliverer => {
  const { outbox, send, log, pollMs = 1_000, most = 200 } = options
  const stats: DelivererStats = { delivered: 0, failed: 0, dead: 0, dropped: 0 }
  const underWay = new Set<Promise<void>>()
  const taken = new Map<string, number>()
  const stop = new AbortController()
  // Every attempt listens to the signal.
  setMaxListeners(0, stop.signal)
  let closed = false
  /** Whether there is any webhook. Without one, each poll only asks whether there is one now. */
  let active = false
  let wanted = false
  let claiming: Promise<void> | null = null
  let polling: Promise<void> = Promise.resolve()
  let pollTimer: NodeJS.Timeout | undefined
  let gatherTimer: NodeJS.Timeout | undefined
  let away = false
  let droppedSaidMs = -Infinity

  const take = (tenantId: string, places: 1 | -1): void => {
    const count = (taken.get(tenantId) ?? 0) + places
    if (count === 0) taken.delete(tenantId)
    else taken.set(tenantId, count)
  }

  /** The log does not say which webhooks have lost messages; the webhooks themselves do. */
  const noteDropped = (dropped: number): void => {
    stats.dropped += dropped
    if (dropped === 0 || performance.now() < droppedSaidMs + SAY_DROPPED_MS) return
    droppedSaidMs = performance.now()
    log.warn({ dropped: stats.dropped }, 'webhook messages are left out: too many of their tenant wait')
  }

  /** Logged once for a period of trouble, however many tries fail. */
  const failed = (error: unknown) => {
    if (!away) log.warn({ err: error }, 'webhooks wait: the database does not say what is to be sent')
    away = true
  }

  const attempt = async (delivery: ClaimedDelivery): Promise<void> => {
    const { webhookId, messageId: id } = delivery
    const result = await send(delivery, stop.signal)
    const status = await outbox.finish(delivery, result)
    if (result.outcome === 'released' || result.outcome === 'held') return
    stats[status === 'waiting' ? 'failed' : (status ?? 'failed')] += 1
    // Without the url, which may contain a secret of the receiver, and without the message.
    if (status === 'dead') log.warn({ webhookId, deliveryId: id, error: result.error }, 'a webhook delivery is dead')
  }

  const begin = (delivery: ClaimedDelivery): void => {
    take(delivery.tenantId, 1)
    const running = attempt(delivery)
      // The claim ends, and the delivery is attempted again.
      .catch((error: unknown) => log.warn({ err: error }, 'what became of a webhook delivery cannot be recorded'))
      .finally(() => {
        underWay.delete(running)
        take(delivery.tenantId, -1)
        // Now the job's next delivery may be sent, or one that found no free place.
        claim()
      })
    underWay.add(running)
  }

  const claimAll = async (): Promise<void> => {
    while (wanted && !isClosed() && underWay.size < most) {
      wanted = false
      const { more, dropped } = await outbox.queueDeliveries()
      noteDropped(dropped)
      if (more) wanted = true
      const deliveries = await outbox.claim({ free: most - underWay.size, taken })
      for (const delivery of deliveries) begin(delivery)
    }
  }

  const claim = (): void => {
    if (closed) return
    wanted = true
    claiming ??= claimAll()
      .catch(failed)
      .finally(() => {
        claiming = null
        // `claim` was called between the last look and now.
        if (wanted && underWay.size < most) claim()
      })
  }

  const isClosed = () => closed

  const poll = async (): Promise<void> => {
    try {
      active = await outbox.queueProgress()
      if (away) log.info({}, 'webhooks are sent again')
      away = false
      if (active) claim()
    } catch (error) {
      failed(error)
    }
    if (!isClosed()) pollTimer = setTimeout(run, pollMs).unref()
  }
  const run = () => {
    polling = poll()
  }

  return {
    start: run,
    wake() {
      if (!active || closed) return
      gatherTimer ??= setTimeout(() => {
        gatherTimer = undefined
        claim()
      }, GATHER_MS).unref()
    },
    look() {
      active = true
      claim()
    },
    stats: () => stats,
    async close(graceMs) {
      closed = true
      clearTimeout(pollTimer)
      clearTimeout(gatherTimer)
      await Promise.all([claiming, polling])
      const timer = setTimeout(() => stop.abort(), graceMs)
      while (underWay.size > 0) await Promise.all(underWay)
      clearTimeout(timer)
    },
  }
}
