import type { InTurn } from '../jobs/in-turn.ts'
import type { Webhooks } from './webhook.ts'

/** The same use cases, each in its caller's turn. */
export const takeTurnsForWebhooks = (webhooks: Webhooks, inTurn: InTurn): Webhooks => ({
  create: (identity, input) => inTurn(identity, 'narrow', () => webhooks.create(identity, input)),
  list: identity => inTurn(identity, 'narrow', () => webhooks.list(identity)),
  get: (identity, id) => inTurn(identity, 'narrow', () => webhooks.get(identity, id)),
  update: (identity, id, input) => inTurn(identity, 'narrow', () => webhooks.update(identity, id, input)),
  remove: (identity, id) => inTurn(identity, 'narrow', () => webhooks.remove(identity, id)),
  rotateSecret: (identity, id) => inTurn(identity, 'narrow', () => webhooks.rotateSecret(identity, id)),
  test: (identity, id) => inTurn(identity, 'narrow', () => webhooks.test(identity, id)),
  delivery: (identity, id, deliveryId) => inTurn(identity, 'narrow', () => webhooks.delivery(identity, id, deliveryId)),
  deliveries: (identity, id, query) => inTurn(identity, 'wide', () => webhooks.deliveries(identity, id, query)),
  redeliver: (identity, id, deliveryId) =>
    inTurn(identity, 'narrow', () => webhooks.redeliver(identity, id, deliveryId)),
})
