// fastify-sse-v2, "Sending individual events" of its README: reply.sse() for each event and reader.
// https://github.com/NodeFactoryIo/fastify-sse-v2#sending-individual-events
import { Buffer } from 'node:buffer'
import Fastify from 'fastify'
import { FastifySSEPlugin } from 'fastify-sse-v2'
import { serveCalls } from '../environment/processes.js'

const readers = new Set()
const app = Fastify({ bodyLimit: 256 * 1024 })
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, Buffer.from(body).toString()))
await app.register(FastifySSEPlugin)

let nextId = 1

app.get('/stream', (request, reply) => {
  reply.sse({ event: 'connected', data: 'yes' })
  readers.add(reply)
  request.raw.once('close', () => readers.delete(reply))
})

app.post('/publish', async request => {
  const id = String(nextId++)
  for (const reply of readers) reply.sse({ id, event: 'progress.job.updated', data: request.body })
  return { readers: readers.size }
})

const origin = await app.listen({ host: '127.0.0.1', port: 0 })
serveCalls({ ready: () => ({ origin }) })
