// better-sse behind Fastify, one channel for all (https://github.com/MatthewWid/better-sse/blob/master/docs/channels.md,
// and its recipe for Fastify: the raw request and response). Documents are texts already, so that its serializer need not
// encode each of them once for each session.
import { Buffer } from 'node:buffer'
import Fastify from 'fastify'
import { createChannel, createSession } from 'better-sse'
import { serveCalls } from '../environment/processes.js'

const channel = createChannel()
const app = Fastify({ bodyLimit: 256 * 1024 })
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, Buffer.from(body).toString()))

app.get('/stream', async (request, reply) => {
  reply.hijack()
  const session = await createSession(request.raw, reply.raw, { serializer: text => text })
  channel.register(session)
})

app.post('/publish', async request => {
  channel.broadcast(request.body, 'progress.job.updated')
  return { sessions: channel.sessionCount }
})

const origin = await app.listen({ host: '127.0.0.1', port: 0 })
serveCalls({ ready: () => ({ origin }) })
