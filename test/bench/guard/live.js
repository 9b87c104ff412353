// What a change costs on its way to open streams: the parts of the service, put together as src/app.ts does.
import { createServer, get } from 'node:http'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { clientOptions } from '../../../dist/database/connection.js'
import { OPEN_IDENTITY, scopeOf } from '../../../dist/jobs/identity.js'
import { createHeartbeatIntake } from '../../../dist/jobs/heartbeats/intake.js'
import { createInTurn } from '../../../dist/jobs/in-turn.js'
import { createLiveSource } from '../../../dist/jobs/live-source.js'
import { createHeartbeatWrite } from '../../../dist/jobs/heartbeats/write.js'
import { createAnnouncer } from '../../../dist/live/announcer.js'
import { createLive } from '../../../dist/live/live.js'
import { LoopTurns } from '../../../dist/turns/loop-turns.js'
import { statements, TENANT } from './world.js'

const SUBSCRIBERS = 20
const CHANGES = 100
const TIMEOUT_MS = 10_000
/** The feeds are of one type of jobs, so that they differ and see the same. */
const FILTERS = [{ jobType: null }, { jobType: 'import:products' }]

const log = pino({ level: 'silent' })

const filterOf = over => ({
  tenantId: TENANT,
  organizationId: null,
  allOrganizations: true,
  scopeJobId: null,
  jobIds: [],
  parentJobId: null,
  topLevel: false,
  ...over,
})

const assemble = ({ url, open }) => {
  const database = open(3)
  const notified = []
  const announcer = createAnnouncer({
    notify: async payloads => {
      notified.push(...payloads)
      await database.query('notify', "SELECT pg_notify('headway', payload) FROM unnest($1::text[]) AS payload", [
        payloads,
      ])
    },
    progressIntervalMs: 500,
    log,
  })
  const live = createLive({
    source: createLiveSource(database, createInTurn(10).inTurn),
    connectListener: () => new pg.Client(clientOptions(url)),
    intervalMs: 500,
    keepaliveSeconds: 3_600,
    maxStreams: 1_000,
    loopTurns: new LoopTurns(),
    // Neither of the two goes by the clock then: when jobs are compared, and what a tenant's streams get at once.
    timing: { reconcileMs: 3_600_000, atOnceMs: 3_600_000 },
    log,
  })
  const intake = createHeartbeatIntake({
    write: createHeartbeatWrite(database),
    announce: announcer.announce,
    heartbeatIntervalMs: 5_000,
    stalledAfterSeconds: 30,
    log,
  })
  const close = async () => {
    await live.close()
    await intake.close(1_000)
    await announcer.close()
    await database.close()
  }
  return { live, intake, notified, close }
}

/** Opens streams of both feeds, over real sockets. */
const openStreams = async (live, streams) => {
  const server = createServer((request, response) => {
    const filter = filterOf(FILTERS[request.url.endsWith('1') ? 1 : 0])
    const stream = { filter, format: 'sse', lastEventId: null, untilFinishedJobId: null, expiresAtMs: null }
    live.open(stream).then(open => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      open.start(response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  for (let n = 0; n < SUBSCRIBERS; n += 1) {
    const call = get(`http://127.0.0.1:${server.address().port}/${n % FILTERS.length}`)
    const [response] = await once(call, 'response')
    const stream = { text: '' }
    response.setEncoding('utf8').on('data', text => (stream.text += text))
    response.on('error', () => undefined)
    streams.push(stream)
  }
  return async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
}

const until = async (what, condition) => {
  const deadline = Date.now() + TIMEOUT_MS
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`Not within ${TIMEOUT_MS / 1000} s: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  // What follows in the same turns belongs to it.
  for (let n = 0; n < 10; n += 1) await turn()
}

const eventsIn = text => text.match(/^event: progress\.job\.updated$/gm)?.length ?? 0

/** A reconciliation has its own time, and falls into one of these changes now and then. */
const isReconcile = text => text.includes('.revisions(')

const change = async ({ live, intake, streams }, jobIds, processedCount) => {
  const before = { ...live.stats() }
  const seen = streams.map(({ text }) => eventsIn(text))
  const bytes = streams.map(({ text }) => text.length)
  statements.begin()
  await intake.submitAll(
    scopeOf(OPEN_IDENTITY),
    jobIds.map(jobId => ({ jobId, workerId: 'default', processedCount })),
  )
  await until('all events have come', () => streams.every(({ text }, n) => eventsIn(text) - seen[n] >= jobIds.length))
  const after = live.stats()
  return {
    statements: statements.texts.filter(text => !isReconcile(text)),
    writes: after.writes - before.writes,
    serialisations: after.serialisations - before.serialisations,
    frames: streams.map(({ text }, n) => eventsIn(text) - seen[n]),
    bytes: streams.map(({ text }, n) => text.length - bytes[n]),
  }
}

const isRead = text => text.includes('live_document') && text.includes('ANY ($1')

/** Counts of what is written to sockets, and of what leads to it. */
export const checkLive = async world => {
  const parts = assemble(world)
  const { live, notified, close } = parts
  const streams = []
  let closeStreams = async () => undefined
  try {
    live.start()
    await until('the listener hears', () => live.isListening())
    closeStreams = await openStreams(live, streams)
    await until('all snapshots have come', () =>
      streams.every(({ text }) => text.includes('event: snapshot') && text.endsWith('\n\n')),
    )
    // The newest jobs: a snapshot has a thousand of them, and only those are followed from the first.
    const [one, ...many] = world.jobIds.slice(0, CHANGES + 1)
    const single = await change({ ...parts, streams }, [one], 10)
    notified.length = 0
    await new Promise(resolve => setTimeout(resolve, 600))
    const bulk = await change({ ...parts, streams }, many, 10)
    const flushes = bulk.statements.filter(isRead).length
    return [
      { name: 'statements from one heartbeat to its event (flush, notify, read)', value: single.statements.length },
      { name: 'statements from 100 heartbeats of 100 jobs to their events', value: bulk.statements.length },
      {
        name: 'statements that read documents, per flush of two feeds',
        value: single.statements.filter(isRead).length,
      },
      { name: 'writes to a socket per subscriber and flush', value: bulk.writes / SUBSCRIBERS / flushes },
      { name: 'serialisations per change', value: bulk.serialisations / CHANGES },
      { name: 'bytes of a frame', value: Math.max(...bulk.bytes.map((bytes, n) => bytes / bulk.frames[n])) },
      { name: 'bytes of a change in a notification', value: notified.join('').length / CHANGES },
    ]
  } finally {
    await close()
    await closeStreams()
  }
}
