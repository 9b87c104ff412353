// A job of three minutes with a report a second, in all four chats at once: `npm run test:chats`. Real time, two replicas as
// processes, the limits of the platforms, 429 and 500 in between, and a kill while an edit is in flight. Not part of `npm test`,
// because it takes as long as it says. CHATS_SECONDS makes it shorter.
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { CHAT_KINDS, type ChatKind } from '../../src/contract/destinations.ts'
import type { JobDocument } from '../../src/contract/job.ts'
import type { WebhookWithSecret } from '../../src/contract/webhook.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { spawnService, type ServiceProcess } from '../helpers/process.ts'
import { waitFor } from '../helpers/wait.ts'
import { startPlatform } from './destination.ts'
import type { PlatformCall } from './platform.ts'

const SECONDS = Number(process.env['CHATS_SECONDS'] ?? 180)

/** Calls in a time that each platform takes: posts and edits. */
const LIMITS: Record<ChatKind, { calls: number; ms: number }> = {
  slack: { calls: 50, ms: 60_000 },
  discord: { calls: 30, ms: 60_000 },
  telegram: { calls: 20, ms: 60_000 },
  // Ten at once, and one in five seconds.
  matrix: { calls: 22, ms: 60_000 },
}

const call = async <Body>(service: ServiceProcess, method: string, path: string, body: unknown = {}): Promise<Body> => {
  const response = await fetch(`${service.url}/api/progress${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
  return (await response.json()) as Body
}

const isSent = ({ what, status }: PlatformCall) => what !== 'read' && status === 200

/** The most calls within a minute. */
const mostInMinute = (calls: PlatformCall[]): number =>
  Math.max(...calls.map(({ atMs }) => calls.filter(each => each.atMs >= atMs && each.atMs < atMs + 60_000).length))

t.test('a job with a report a second has one message in each chat, whatever happens meanwhile', async t => {
  const database = await createTestDatabase(t)
  const stages = await Promise.all(CHAT_KINDS.map(startPlatform))
  for (const { kind, platform } of stages) {
    platform.limit = LIMITS[kind]
    t.teardown(() => platform.close())
  }
  const environment = Object.assign({ DATABASE_URL: database.url }, ...stages.map(each => each.environment)) as Record<
    string,
    string
  >
  const start = () => spawnService(t, environment).ready()
  let [first, second] = [await start(), await start()]
  for (const { kind, settings } of stages) await call<WebhookWithSecret>(first, 'POST', '/webhooks', { kind, settings })
  const { id } = await call<JobDocument>(first, 'POST', '/jobs', {
    jobType: 'soak',
    name: 'Nightly import',
    totalCount: SECONDS,
  })

  const trouble: Record<number, () => Promise<void>> = {
    [Math.floor(SECONDS * 0.2)]: async () => {
      for (const { platform } of stages) platform.faults.push(platform.limitedAnswer(7))
    },
    [Math.floor(SECONDS * 0.35)]: async () => {
      for (const { platform } of stages) platform.faults.push({ status: 500, body: {} }, { status: 500, body: {} })
    },
    // The next edit is never answered, and then both replicas die.
    [Math.floor(SECONDS * 0.5)]: async () => {
      for (const { platform } of stages) platform.faults.push(null)
    },
    [Math.floor(SECONDS * 0.5) + 6]: async () => {
      await Promise.all([first.kill('SIGKILL'), second.kill('SIGKILL')])
      ;[first, second] = [await start(), await start()]
    },
  }
  const begunMs = performance.now()
  for (let second_ = 1; second_ <= SECONDS; second_++) {
    await trouble[second_]?.()
    await call(second_ % 2 === 0 ? first : second, 'POST', `/jobs/${id}/heartbeat`, { processedCount: second_ })
    await delay(Math.max(0, begunMs + second_ * 1_000 - performance.now()))
  }
  await call(first, 'POST', `/jobs/${id}/complete`)
  const endedMs = performance.now()
  await waitFor(() => stages.every(({ platform }) => /Completed/.test(platform.shown[0]?.text ?? '')), {
    timeoutMs: 60_000,
  })
  for (const { kind, platform } of stages) {
    const sent = platform.calls.filter(isSent)
    const afterMs = (sent.at(-1)?.atMs ?? Infinity) - endedMs
    t.comment(
      `${kind}: ${platform.posts} post, ${platform.edits} edits, at most ${mostInMinute(sent)} calls a minute, ` +
        `${platform.limited} over the limit, final state after ${(afterMs / 1000).toFixed(1)} s`,
    )
    console.error(
      `${kind}: ${platform.posts} post, ${platform.edits} edits, at most ${mostInMinute(sent)} calls a minute, ` +
        `${platform.limited} over the limit, final state after ${(afterMs / 1000).toFixed(1)} s`,
    )
    t.equal(platform.posts, 1, `${kind}: one message`)
    t.equal(platform.shown.length, 1)
    t.equal(platform.limited, 0, `${kind}: never over the limit`)
    t.same(platform.misuses, [])
    t.ok(mostInMinute(sent) <= LIMITS[kind].calls)
    // Each state is sent once.
    t.equal(new Set(sent.map(({ atMs }) => atMs)).size, sent.length)
  }
})
