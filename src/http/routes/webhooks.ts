import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import type { Feature } from '../../contract/tokens.ts'
import type { Webhooks } from '../../webhooks/webhook.ts'
import type { ProblemCode } from '../problems.ts'
import { CHANGE_REFUSALS, operation } from '../schemas/operation.ts'
import type { Answer } from '../schemas/operation.ts'
import { nothing } from '../schemas/primitives.ts'
import {
  changeWebhook,
  deliveriesQuery,
  delivery,
  deliveryPage,
  deliveryParams,
  newWebhook,
  webhook,
  webhookList,
  webhookParams,
  webhookWithSecret,
} from '../schemas/webhook.ts'

interface Call {
  id: string
  summary: string
  description?: string
  answers: Record<number, Answer>
  refusals?: ProblemCode[]
}

const call = ({ refusals = [], ...rest }: Call) =>
  operation({ ...rest, tag: 'webhooks', refusals: ['database_unavailable', ...refusals] })

const config: { feature: Feature } = { feature: 'progress.manage' }
const queued: Answer = {
  description: 'The delivery, queued. Read the deliveries to see what became of it.',
  schema: delivery,
}

/** Routes that create, read, change and delete webhooks. */
const webhookCalls: FastifyPluginAsyncZod<{ webhooks: Webhooks }> = async (app, { webhooks }) => {
  app.route({
    method: 'POST',
    url: '/webhooks',
    config,
    schema: {
      ...call({
        id: 'createWebhook',
        summary: 'Create a webhook',
        description:
          'Tells a receiver of what happens to the jobs of the tenant, by signed POST requests (Standard Webhooks): at least ' +
          'once each, tried again for three days.',
        answers: {
          201: {
            description: 'The webhook, and its secret, which is shown only here.',
            schema: webhookWithSecret,
            headers: { location: { type: 'string', description: 'Where the webhook is read, relative to this call.' } },
          },
        },
        refusals: [...CHANGE_REFUSALS, 'too_many_webhooks', 'destination_unavailable'],
      }),
      querystring: nothing,
      body: newWebhook,
    },
    handler: async ({ identity, body }, reply) => {
      const created = await webhooks.create(identity, body)
      return reply.code(201).header('location', `webhooks/${created.id}`).send(created)
    },
  })
  app.route({
    method: 'GET',
    url: '/webhooks',
    config,
    schema: {
      ...call({
        id: 'listWebhooks',
        summary: 'List webhooks',
        answers: { 200: { description: 'All of the tenant, without their secrets.', schema: webhookList } },
      }),
      querystring: nothing,
    },
    handler: async ({ identity }) => ({ items: await webhooks.list(identity) }),
  })
  app.route({
    method: 'GET',
    url: '/webhooks/:id',
    config,
    schema: {
      ...call({
        id: 'getWebhook',
        summary: 'Read a webhook',
        answers: { 200: { description: 'The webhook, without its secret.', schema: webhook } },
        refusals: ['webhook_not_found'],
      }),
      params: webhookParams,
      querystring: nothing,
    },
    handler: ({ identity, params }) => webhooks.get(identity, params.id),
  })
  app.route({
    method: 'PUT',
    url: '/webhooks/:id',
    config,
    schema: {
      ...call({
        id: 'updateWebhook',
        summary: 'Change a webhook',
        description: 'What is left out stays as it is. What is queued already goes to the new address.',
        answers: { 200: { description: 'The webhook.', schema: webhook } },
        refusals: [...CHANGE_REFUSALS, 'webhook_not_found', 'destination_unavailable'],
      }),
      params: webhookParams,
      querystring: nothing,
      body: changeWebhook,
    },
    handler: ({ identity, params, body }) => webhooks.update(identity, params.id, body),
  })
  app.route({
    method: 'DELETE',
    url: '/webhooks/:id',
    config,
    schema: {
      ...call({
        id: 'deleteWebhook',
        summary: 'Delete a webhook',
        description: 'With what is queued, and with its record.',
        answers: { 204: { description: 'Deleted. An attempt that is under way still ends.' } },
        refusals: [...CHANGE_REFUSALS, 'webhook_not_found'],
      }),
      params: webhookParams,
      querystring: nothing,
      body: nothing,
    },
    handler: async ({ identity, params }, reply) => {
      await webhooks.remove(identity, params.id)
      return reply.code(204).send()
    },
  })
  app.route({
    method: 'POST',
    url: '/webhooks/:id/rotate-secret',
    config,
    schema: {
      ...call({
        id: 'rotateWebhookSecret',
        summary: 'Make a new secret',
        description: 'For a day, messages are signed with the old secret as well.',
        answers: { 200: { description: 'The webhook, and its new secret.', schema: webhookWithSecret } },
        refusals: [...CHANGE_REFUSALS, 'webhook_not_found', 'destination_unavailable'],
      }),
      params: webhookParams,
      querystring: nothing,
      body: nothing,
    },
    handler: ({ identity, params }) => webhooks.rotateSecret(identity, params.id),
  })
}

/** Routes that list deliveries and send messages. */
const deliveryCalls: FastifyPluginAsyncZod<{ webhooks: Webhooks }> = async (app, { webhooks }) => {
  app.route({
    method: 'POST',
    url: '/webhooks/:id/test',
    config,
    schema: {
      ...call({
        id: 'testWebhook',
        summary: 'Send a test message',
        description:
          'Of the type `webhook.test`. Of other kinds than `webhook`, the answer waits 5 s for what becomes of it.',
        answers: { 202: queued },
        refusals: [...CHANGE_REFUSALS, 'webhook_not_found', 'webhook_disabled'],
      }),
      params: webhookParams,
      querystring: nothing,
      body: nothing,
    },
    handler: async ({ identity, params }, reply) => reply.code(202).send(await webhooks.test(identity, params.id)),
  })
  app.route({
    method: 'GET',
    url: '/webhooks/:id/deliveries',
    config,
    schema: {
      ...call({
        id: 'listDeliveries',
        summary: 'See what became of messages',
        answers: { 200: { description: 'A page of deliveries.', schema: deliveryPage } },
        refusals: ['webhook_not_found'],
      }),
      params: webhookParams,
      querystring: deliveriesQuery,
    },
    handler: ({ identity, params, query }) => webhooks.deliveries(identity, params.id, query),
  })
  app.route({
    method: 'POST',
    url: '/webhooks/:id/deliveries/:deliveryId/redeliver',
    config,
    schema: {
      ...call({
        id: 'redeliver',
        summary: 'Send a message again',
        description: 'Dead, delivered or waiting: it is due at once, with the same id and body.',
        answers: { 202: queued },
        refusals: [...CHANGE_REFUSALS, 'webhook_not_found', 'webhook_disabled', 'delivery_not_found'],
      }),
      params: deliveryParams,
      querystring: nothing,
      body: nothing,
    },
    handler: async ({ identity, params }, reply) =>
      reply.code(202).send(await webhooks.redeliver(identity, params.id, params.deliveryId)),
  })
}

/** Every route for webhooks. */
export const webhookRoutes: FastifyPluginAsyncZod<{ webhooks: Webhooks }> = async (app, options) => {
  await app.register(webhookCalls, options)
  await app.register(deliveryCalls, options)
}
