import { randomBytes } from 'node:crypto'
import { EventEmitter, once, setMaxListeners } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { HeadwayError } from '../../src/contract/errors.ts'
import type { FeedFilter } from '../../src/live/change.ts'
import type { JobWait, LiveOptions, OpenStream } from '../../src/live/live.ts'
import { createStats } from '../../src/live/stats.ts'
import { Subscriber } from '../../src/live/subscriber.ts'
import { createStation, openDeafReader, Reader, request, silentLog } from './clients.ts'
import { waitFor } from '../helpers/wait.ts'
import { filter, jobId, OTHER_TENANT, TENANT, World } from './world.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const [A, B, C] = [jobId(1), jobId(2), jobId(3)]

/** Waits for another revision than the one that is known. */
const changed = (jobId: string, known: number, over: Partial<FeedFilter> = {}): JobWait => ({
  visibility: filter(over),
  jobId,
  known,
  isEnough: ({ revision }) => revision !== known,
})

/** Waits for the end of a job. */
const finished = (jobId: string): JobWait => ({
  visibility: filter(),
  jobId,
  known: -1,
  isEnough: state => state.finished,
})

t.test('every stream begins with retry and a snapshot, and changes follow', async t => {
  const world = new World()
  world.commit(A)
  const { open } = await createStation(t, world)
  const reader = await open()
  const snapshot = await reader.event('snapshot')
  t.match(reader.raw, /^retry: \d{4}\n\nid: \d+\.0\.\d+\nevent: snapshot\ndata: \{"jobs":\[/)
  t.same(
    snapshot.data.jobs.map(job => job.id),
    [A],
  )

  world.change(A, {}, 'started')
  const started = await reader.event('progress.job.started')
  t.match(
    started.id,
    new RegExp(`^${world.jobs.get(A)?.updatedAtMs}\\.2\\.\\d+$`),
    'the id is time, revision and position',
  )
  world.change(A)
  t.equal((await reader.event('progress.job.updated')).data.revision, 3)
})

t.test('NDJSON has the same events, one a line', async t => {
  const world = new World()
  world.commit(A)
  const { open } = await createStation(t, world)
  const reader = await open({ format: 'ndjson' })
  await reader.event('snapshot')
  world.change(A, {}, 'completed')
  const completed = await reader.event('progress.job.completed')
  t.equal(completed.data.status, 'completed')
  t.notOk(reader.raw.includes('retry'))
})

t.test('one read and one encoding serve all feeds', async t => {
  const world = new World()
  world.commit(A)
  const { open, live } = await createStation(t, world)
  const readers = await Promise.all([
    open(),
    open({ filter: filter({ jobIds: [A] }) }),
    open({ filter: filter({ topLevel: true }) }),
  ])
  for (const reader of readers) await reader.event('snapshot')
  world.change(A, {}, 'started')
  for (const reader of readers) await reader.revision(A, 2)
  t.same(world.reads, [[A]])
  t.equal(live.stats().serialisations, 1)
  t.equal(live.stats().frames, 3)
})

t.test('a hint that every feed already knows or that no feed wants causes no read', async t => {
  const world = new World()
  world.commit(A)
  world.commit(B, { jobType: 'export' })
  const { open } = await createStation(t, world, { timing: { reconcileMs: 3_600_000, reconcileDeafMs: 3_600_000 } })
  const reader = await open({ filter: filter({ jobType: 'import' }) })
  await reader.event('snapshot')
  world.announce([{ tenantId: TENANT, jobId: A, revision: 1, lifecycle: true }])
  world.announce([{ tenantId: OTHER_TENANT, jobId: C, revision: 9, lifecycle: true }])
  world.change(B, {}, 'started')
  world.change(A, {}, 'started')
  await reader.revision(A, 2)
  t.same(world.reads, [[B, A]], 'a job that is unknown yet must be read to know who wants it')
  world.change(B)
  world.change(A)
  await reader.revision(A, 3)
  t.same(world.reads[1], [A], 'once it is known it is not read again')
  t.notOk(reader.raw.includes(B))
})

t.test('a stream shows only jobs of its tenant, organization, token and filter', async t => {
  const world = new World()
  const all = [
    { id: jobId(1), organizationId: 'o1' },
    { id: jobId(2), organizationId: null },
    { id: jobId(3), tenantId: OTHER_TENANT },
    { id: jobId(4), jobType: 'export' },
    { id: jobId(5), parentJobId: jobId(2) },
  ]
  const { open } = await createStation(t, world)
  const cases: [Parameters<typeof filter>[0], number[]][] = [
    [{}, [1, 2, 4, 5]],
    [{ allOrganizations: false, organizationId: 'o1' }, [1]],
    [{ allOrganizations: true, organizationId: 'o1' }, [1, 2, 4, 5]],
    [{ allOrganizations: false, organizationId: null }, [2, 4, 5]],
    [{ tenantId: OTHER_TENANT }, [3]],
    [{ jobType: 'export' }, [4]],
    [{ scopeJobId: jobId(2) }, [2, 5]],
    [{ parentJobId: jobId(2) }, [5]],
    [{ topLevel: true }, [1, 2, 4]],
    [{ jobIds: [jobId(1), jobId(3)] }, [1]],
  ]
  const readers: Reader[] = []
  for (const [wanted] of cases) readers.push(await open({ filter: filter(wanted) }))
  for (const reader of readers) await reader.event('snapshot')
  for (const job of all) world.change(job.id, job)
  for (const job of all) world.change(job.id, {}, 'started')
  for (const [index, [wanted, expected]] of cases.entries()) {
    const reader = readers[index]!
    for (const number of expected) await reader.revision(jobId(number), 2)
    const shown = new Set(reader.events.filter(({ event }) => event !== 'snapshot').map(({ data }) => data.id))
    t.same([...shown].sort(), expected.map(jobId), JSON.stringify(wanted))
  }
})

t.test('a lifecycle change is sent at once, and progress at most once per interval, the first at once', async t => {
  const world = new World()
  world.commit(A)
  world.commit(B)
  const { open } = await createStation(t, world, { intervalMs: 400 })
  const reader = await open()
  await reader.event('snapshot')
  const begin = performance.now()
  world.change(A)
  await reader.revision(A, 2)
  const first = performance.now() - begin
  world.change(A)
  world.change(A)
  world.change(B, {}, 'started')
  await reader.revision(B, 2)
  const lifecycle = performance.now() - begin
  t.equal(reader.events.filter(({ data }) => data.id === A).length, 1, 'a lifecycle flush takes no progress along')
  await reader.revision(A, 4)
  const second = performance.now() - begin
  t.ok(first < 100, `${first}`)
  t.ok(lifecycle < 200, `${lifecycle}`)
  t.ok(second >= 390, `${second}`)
  t.notOk(
    reader.events.some(({ data }) => data.id === A && data.revision === 3),
    'states between are skipped',
  )
})

t.test('a frame is named after a lifecycle change until the feed has flushed it', async t => {
  const world = new World()
  world.commit(A)
  const { open } = await createStation(t, world)
  const reader = await open()
  await reader.event('snapshot')
  world.commit(A, {}, 'started')
  world.change(A)
  t.equal((await reader.revision(A, 3)).event, 'progress.job.started', 'started and progress merge into one')
  world.change(A)
  t.equal((await reader.revision(A, 4)).event, 'progress.job.updated')
})

t.test(
  'no change is lost between a snapshot and the changes after it, and no older state follows a snapshot',
  async t => {
    const world = new World()
    world.commit(A)
    const { open } = await createStation(t, world)
    const first = await open()
    await first.event('snapshot')
    // A flush and a snapshot overlap: the flush holds an older document than the snapshot, and answers last.
    const gates = new Map<string, () => void>()
    world.onRead = kind => new Promise<void>(resolve => gates.set(kind, resolve))
    world.change(A)
    await waitFor(() => gates.has('documents'))
    world.commit(A)
    const opening = open({ lastEventId: `${Date.now() - 120_000}.0` })
    await waitFor(() => gates.has('snapshot'))
    world.onRead = () => undefined
    gates.get('snapshot')!()
    world.change(A)
    await new Promise(resolve => setImmediate(resolve))
    gates.get('documents')!()
    const second = await opening
    await second.revision(A, 4)
    const shown = second.events
      .flatMap(({ event, data }) => (event === 'snapshot' ? data.jobs : [data]))
      .map(job => job.revision)
    t.same(shown, [3, 4])
  },
)

/** Turns of the event loop that come when the test gives them. */
const createHeldTurns = () => {
  const held: (() => void)[] = []
  const tenants: string[] = []
  const written: number[] = []
  const loopTurns: LiveOptions['loopTurns'] = {
    runPatiently: ({ tenantId }, work) =>
      new Promise((resolve, reject) => {
        tenants.push(tenantId)
        held.push(() => {
          const turn = { bytes: 0 }
          const done = (async () => work(turn))()
          done.finally(() => written.push(turn.bytes)).then(resolve, reject)
        })
      }),
  }
  return { held, tenants, written, loopTurns }
}

t.test(
  'changes for many readers of one tenant are written in turns of the event loop, and readers of other tenants do not wait',
  async t => {
    const world = new World()
    world.commit(A)
    world.commit(jobId(7), { tenantId: OTHER_TENANT })
    const { held, tenants, written, loopTurns } = createHeldTurns()
    const { open } = await createStation(t, world, { loopTurns, timing: { atOnceMs: 0, reconcileMs: 60_000 } })
    const many = await Promise.all(Array.from({ length: 100 }, () => open()))
    const other = await open({ filter: filter({ tenantId: OTHER_TENANT }) })
    for (const reader of [...many, other]) await reader.event('snapshot')
    const haveIt = (revision: number) =>
      many.filter(({ events }) => events.some(({ data }) => data.revision === revision)).length

    world.change(A)
    await waitFor(() => held.length > 0)
    t.same(tenants, [TENANT])
    t.ok(haveIt(2) < many.length, 'the first readers at most have it before the turn')
    world.change(jobId(7))
    await other.revision(jobId(7), 2)
    const reads = world.reads.length
    world.change(A)
    world.change(jobId(7))
    await other.revision(jobId(7), 3)
    t.notOk(world.reads.slice(reads).flat().includes(A), 'nothing newer is read for who still gets the change before')

    const late = open()
    await waitFor(() => world.snapshotReads.length === 3)
    world.change(jobId(7))
    await other.revision(jobId(7), 4)
    t.equal(held.length, 1, 'a delivery asks for one turn at a time')
    const giving = setInterval(() => held.shift()?.(), 1)
    t.teardown(() => clearInterval(giving))
    await waitFor(() => haveIt(3) === many.length)
    t.ok(written.reduce((sum, bytes) => sum + bytes) > 2 * 90 * 150, 'turns say what was written in them')
    const reader = await late
    const revisionsOf = ({ events }: Reader) =>
      events.flatMap(({ event, data }) => (event === 'snapshot' ? data.jobs : [data])).map(({ revision }) => revision)
    await reader.until(one => revisionsOf(one).includes(3))
    for (const revisions of [...many, reader].map(revisionsOf)) {
      t.same(revisions, revisions.toSorted(), 'nobody gets an older state after a newer one')
    }
  },
)

t.test('what changes during a delivery is flushed after it, whatever else happens', async t => {
  const world = new World()
  world.commit(A)
  const { held, loopTurns } = createHeldTurns()
  const { open } = await createStation(t, world, { loopTurns, timing: { atOnceMs: 0, reconcileMs: 60_000 } })
  const readers = [await open(), await open()]
  for (const reader of readers) await reader.event('snapshot')
  world.change(A)
  await waitFor(() => held.length === 1)
  world.change(A)
  // Until the flush that the change would have had without a delivery must have come.
  await new Promise(resolve => setTimeout(resolve, 100))
  t.equal(held.length, 1)
  held.shift()?.()
  const giving = setInterval(() => held.shift()?.(), 1)
  t.teardown(() => clearInterval(giving))
  for (const reader of readers) await reader.revision(A, 3)
})

t.test('a snapshot that is newer than a delivery waits for its end, so that no older state follows', async t => {
  const world = new World()
  world.commit(A)
  const { held, loopTurns } = createHeldTurns()
  const { open } = await createStation(t, world, { loopTurns, timing: { atOnceMs: 0 } })
  const first = await open()
  const second = await open({ filter: filter({ topLevel: true }) })
  for (const reader of [first, second]) await reader.event('snapshot')
  world.change(A)
  await waitFor(() => held.length > 0)
  world.change(A)
  const opening = open({ filter: filter({ topLevel: true }), lastEventId: `${Date.now()}.1` })
  await waitFor(() => world.snapshotReads.length === 3)
  await new Promise(resolve => setImmediate(resolve))
  const giving = setInterval(() => held.shift()?.(), 1)
  t.teardown(() => clearInterval(giving))
  const late = await opening
  await late.event('snapshot')
  world.change(A)
  await Promise.all([second.revision(A, 4), late.revision(A, 4)])
  const shown = late.events.flatMap(({ event, data }) => (event === 'snapshot' ? data.jobs : [data]))
  t.same(
    shown.map(({ revision }) => revision),
    [3, 4],
  )
})

t.test('a resume shows an end that came while the streams of its tenant got an earlier change', async t => {
  const world = new World()
  for (const id of [A, B, C]) world.commit(id)
  const { held, loopTurns } = createHeldTurns()
  const { open } = await createStation(t, world, { loopTurns, timing: { atOnceMs: 0, reconcileMs: 50 } })
  // Two feeds come before the third one, which gets its changes in a turn.
  const first = await open({ filter: filter({ jobIds: [B] }) })
  const between = await open({ filter: filter({ jobIds: [B], topLevel: true }) })
  const second = await open()
  for (const reader of [first, between, second]) await reader.event('snapshot')
  // A transaction that wrote its end ten minutes ago, and has not committed yet.
  const late = world.begin()
  const written = Date.now() - 600_000
  world.announce([world.commit(B), world.commit(A)])
  await waitFor(() => held.length > 0)
  world.announce([world.commit(A, { updatedAtMs: written }, 'completed', late)])
  const seen = world.revisionReads
  await waitFor(() => world.revisionReads > seen + 2)
  world.change(C, {}, 'cancel_requested')
  const giving = setInterval(() => held.shift()?.(), 1)
  t.teardown(() => clearInterval(giving))
  await second.revision(C, 2)
  const behind = second.events.slice(0, 1 + second.events.findIndex(({ data }) => data.id === C))
  const hasEnd = behind.some(({ data }) => data.status === 'completed')
  const again = await open({ lastEventId: behind.at(-1)!.id })
  const { data } = await again.event('snapshot')
  t.ok(hasEnd || data.jobs.some(({ status }) => status === 'completed'), 'before the cut, or after it')
})

t.test('no snapshot is made for readers that have left while it waited for its turn', async t => {
  const world = new World()
  for (let n = 0; n < 60; n += 1) world.commit(jobId(n))
  const { held, written, loopTurns } = createHeldTurns()
  const { open, live } = await createStation(t, world, { loopTurns })
  const leaving = new AbortController()
  const wide = [60, 59, 58, 57, 56].map(count => filter({ jobIds: Array.from({ length: count }, (_, n) => jobId(n)) }))
  const opening = wide.map(one => live.open(request({ filter: one, left: leaving.signal })))
  const refused = Promise.all(opening.map(one => t.rejects(one, { code: 'too_many_streams' })))
  await waitFor(() => held.length === 5)
  leaving.abort()
  for (const give of held.splice(0)) give()
  await refused
  t.ok(written.every(bytes => bytes === 0))
  const stays = open()
  await waitFor(() => held.length === 1)
  held.shift()?.()
  t.equal((await (await stays).event('snapshot')).data.jobs.length, 60)
})

t.test('sixteen snapshots of a tenant are read at the same time, and those of other tenants do not wait', async t => {
  const world = new World()
  const { live } = await createStation(t, world)
  const waiting: (() => void)[] = []
  world.onRead = kind => (kind === 'snapshot' ? new Promise<void>(resolve => waiting.push(resolve)) : undefined)
  const types = Array.from({ length: 20 }, (_, n) => filter({ jobType: `type ${n}` }))
  const opening = types.map(one => live.open(request({ filter: one })))
  await waitFor(() => waiting.length === 16)
  const other = live.open(request({ filter: filter({ tenantId: OTHER_TENANT }) }))
  await waitFor(() => waiting.length === 17)
  world.onRead = () => undefined
  for (const go of waiting) go()
  for (const stream of await Promise.all([...opening, other])) stream.abandon()
  t.equal(world.snapshotReads.length, 21)
})

t.test('a snapshot of many jobs is made in a turn of the event loop, and a small one at once', async t => {
  const world = new World()
  for (let n = 0; n < 60; n += 1) world.commit(jobId(n))
  const { held, written, loopTurns } = createHeldTurns()
  const { open } = await createStation(t, world, { loopTurns })
  const few = await open({ filter: filter({ jobIds: [jobId(1), jobId(2)] }) })
  t.equal((await few.event('snapshot')).data.jobs.length, 2)
  const opening = open()
  await waitFor(() => held.length > 0)
  // A change that comes before the turn is in the snapshot, or follows it.
  world.change(jobId(3))
  held.shift()?.()
  const many = await opening
  const { data } = await many.event('snapshot')
  t.equal(data.jobs.length, 60)
  t.ok(written[0]! > 60 * 50)
  await many.revision(jobId(3), 2)
})

t.test('one snapshot query serves all readers that arrive meanwhile, and later ones until the next change', async t => {
  const world = new World()
  world.commit(A)
  const { open } = await createStation(t, world)
  const readers = await Promise.all(Array.from({ length: 20 }, () => open()))
  for (const reader of readers) await reader.event('snapshot')
  await open()
  t.equal(world.snapshotReads.length, 1)
  world.change(A)
  await readers[0]!.revision(A, 2)
  const late = await open()
  t.equal((await late.event('snapshot')).data.jobs[0]?.revision, 2)
  t.equal(world.snapshotReads.length, 2)
})

t.test('a resume looks back to a minute before its id, at most an hour; a malformed id counts as none', async t => {
  const world = new World()
  const now = Date.now()
  for (const [number, minutes] of [0.2, 3, 30, 90].entries()) {
    const at = now - minutes * 60_000
    world.commit(jobId(number), { updatedAtMs: at }, 'completed')
  }
  world.commit(jobId(9))
  const { open } = await createStation(t, world)
  const cases: [string | null, number[]][] = [
    [null, [9, 0]],
    ['nonsense', [9, 0]],
    ['1.2.x', [9, 0]],
    ['1.2.3-', [9, 0]],
    ['1.2.3-1-1-1-1-1', [9, 0]],
    [`${now + 10_000_000}.0`, [9, 0]],
    [`${now - 2.5 * 60_000}.0`, [9, 0, 1]],
    [`${now - 29.5 * 60_000}.17`, [9, 0, 1, 2]],
    ['1.0', [9, 0, 1, 2]],
  ]
  for (const [lastEventId, expected] of cases) {
    const reader = await open({ lastEventId })
    const { data } = await reader.event('snapshot')
    t.same(
      data.jobs.map(job => job.id),
      expected.map(jobId),
      String(lastEventId),
    )
  }
})

t.test('a feed keeps snapshots for a few look-backs and a few seconds, also without further readers', async t => {
  const world = new World()
  world.commit(A)
  let later = 0
  const { open, live } = await createStation(t, world, {
    now: () => performance.now() + later,
    timing: { checkMs: 10 },
  })
  const reader = await open()
  await reader.event('snapshot')
  for (let minutes = 0; minutes < 60; minutes++) {
    const stream = await live.open(request({ lastEventId: `${Date.now() - minutes * 60_000}.0` }))
    stream.abandon()
  }
  t.ok(world.snapshotReads.length <= 5, `${world.snapshotReads.length} queries`)

  const one = { filter: filter({ jobIds: [A] }) }
  const held = await open(one)
  await held.event('snapshot')
  const kept: WeakRef<object>[] = []
  const document = world.document.bind(world)
  world.document = id => {
    const made = document(id)
    if (made) kept.push(new WeakRef(made))
    return made
  }
  const resumed = await live.open(request({ ...one, lastEventId: `${Date.now()}.0` }))
  resumed.abandon()
  t.equal(kept.length, 1)
  later = 6_000
  await waitFor(() => {
    collectGarbage()
    return kept[0]?.deref() === undefined
  })
})

t.test(
  'the stream of one job ends when the job has finished for good, and a reader that has seen the end is answered 204',
  async t => {
    for (const lifecycle of ['completed', 'failed', 'cancelled']) {
      const world = new World()
      world.commit(A)
      const { open } = await createStation(t, world)
      const one = { filter: filter({ jobIds: [A] }), untilFinishedJobId: A }
      const reader = await open(one)
      await reader.event('snapshot')
      world.change(A, { stale: lifecycle === 'failed' }, lifecycle)
      await reader.revision(A, 2)
      if (lifecycle === 'failed') {
        const again = await open({ ...one, lastEventId: `${Date.now()}.2` })
        await again.event('snapshot')
        t.notOk(reader.ended || again.ended, 'a stale job may recover')
        world.change(A, {}, 'recovered')
        await again.revision(A, 3)
        world.change(A, { stale: false }, 'failed')
      }
      await reader.until(({ ended }) => ended)
      const { revision } = world.jobs.get(A)!
      const late = await open({ ...one, lastEventId: `${Date.now()}.${revision - 1}` })
      await late.until(({ ended }) => ended)
      t.equal(late.events[0]?.id.split('.')[1], String(revision), 'the snapshot of one job carries its revision')
      for (const foreign of [`0.${revision}`, `${world.jobs.get(A)!.updatedAtMs - 1}.${revision}`]) {
        const stranger = await open({ ...one, lastEventId: foreign })
        t.equal(stranger.response.statusCode, 200, 'an id from before the end, of another stream say, has not seen it')
      }
      const seen = await open({ ...one, lastEventId: late.events[0]!.id })
      t.equal(seen.response.statusCode, 204)
    }
  },
)

t.test('the reconciler finds changes that were not announced', async t => {
  const world = new World()
  world.commit(A)
  const { open, live } = await createStation(t, world, { timing: { reconcileMs: 20 } })
  t.equal(world.revisionReads, 0, 'it does not run without subscribers')
  const reader = await open()
  await reader.event('snapshot')
  world.commit(A, {}, 'completed')
  world.commit(B)
  await reader.event('progress.job.completed')
  await reader.event('progress.job.created')
  const waiting = live.waitForJob(changed(B, 1), AbortSignal.timeout(5_000))
  await waitFor(() => world.stateReads.length > 0)
  world.commit(B)
  t.match(await waiting, { id: B, revision: 2 }, 'also by those who wait')
})

t.test('an end that was committed late and not announced is found by its commit', async t => {
  const world = new World()
  const { open, live } = await createStation(t, world, { timing: { reconcileMs: 20, reconcileDeafMs: 20 } })
  const [one, two] = [world.begin(), world.begin()]
  const old = { createdAtMs: world.now() - 200_000, updatedAtMs: world.now() - 200_000 }
  world.commit(C, old, 'completed')
  const reader = await open()
  const { id } = await reader.event('snapshot')
  t.match(id, /\.\d+-\d+-\d+$/, 'it has seen neither of them')
  // Neither was ever seen to run, and both finished before the two minutes in which reconcile goes by the time.
  world.commit(A, old, 'completed', one)
  const shown = await reader.revision(A, 1)
  t.equal(shown.event, 'progress.job.completed')
  const reads = world.revisionReads
  await waitFor(() => world.revisionReads > reads + 2)
  world.change(jobId(7))
  const later = await reader.revision(jobId(7), 1)
  t.match(later.id, /\.\d+-\d+$/, 'ids move on over what has been delivered')
  world.commit(B, old, 'failed', two)
  await reader.revision(B, 1)
  t.same(
    reader.events.filter(({ data }) => data.id === A || data.id === C).map(({ data }) => data.id),
    [A],
    'once, and nothing that was over before',
  )
  reader.close()
  await waitFor(() => live.openStreams() === 0)
  for (const [from, expected] of [
    [id, [A, B]],
    [later.id, [B]],
  ] as const) {
    const again = await open({ lastEventId: from })
    const { data } = await again.event('snapshot')
    const ends = data.jobs.filter(job => job.status !== 'running').map(job => job.id)
    t.same(ends.sort(), expected, 'on another process too, which knows nothing but the id')
    again.close()
    await waitFor(() => live.openStreams() === 0)
  }
})

t.test('the hub reconciles at once when the listener is back', async t => {
  const world = new World()
  world.commit(A)
  const { open, live } = await createStation(t, world, {
    timing: { reconcileMs: 3_600_000, reconcileDeafMs: 3_600_000 },
  })
  await waitFor(() => live.isListening())
  const reader = await open()
  await reader.event('snapshot')
  world.cutListeners()
  world.commit(A, {}, 'completed')
  await reader.event('progress.job.completed')
})

t.test('a document is sent only if it is newer than the last one that was sent', async t => {
  const world = new World()
  world.commit(A)
  world.commit(A)
  const { open } = await createStation(t, world)
  const reader = await open()
  await reader.event('snapshot')
  world.announce([{ tenantId: TENANT, jobId: A, revision: 9, lifecycle: true }])
  await waitFor(() => world.reads.length === 1)
  const newer = world.jobs.get(A)!
  world.jobs.set(A, { ...newer, revision: 1 })
  world.announce([{ tenantId: TENANT, jobId: A, revision: 10, lifecycle: true }])
  await waitFor(() => world.reads.length === 2)
  world.jobs.set(A, newer)
  world.change(A)
  await reader.revision(A, 3)
  t.equal(reader.events.length, 2, 'the snapshot and revision 3')
})

t.test('after an outage event ids do not advance until all changes of that time are delivered', async t => {
  const world = new World()
  let later = 0
  world.commit(A)
  world.commit(B)
  const { open } = await createStation(t, world, {
    now: () => performance.now() + later,
    timing: { reconcileMs: 20, reconcileDeafMs: 20 },
  })
  const reader = await open()
  const snapshotMs = Number((await reader.event('snapshot')).id.split('.')[0])
  const idMs = async (id: string, revision: number) => Number((await reader.revision(id, revision)).id.split('.')[0])
  world.onRead = kind => (kind === 'revisions' ? Promise.reject(new Error('away')) : undefined)
  world.commit(A, { updatedAtMs: Date.now() + 1_000 }, 'completed')
  later = 31_000
  world.change(B, { updatedAtMs: Date.now() + 100_000 })
  t.equal(await idMs(B, 2), snapshotMs, 'it does not claim that the end of the other job was seen')
  world.onRead = () => undefined
  await reader.event('progress.job.completed')
  world.change(B, { updatedAtMs: Date.now() + 200_000 })
  t.ok((await idMs(B, 3)) > snapshotMs + 100_000)
})

t.test(
  'a job that is active in a feed and that the reconciler does not find is read, and dropped if it is erased',
  async t => {
    const world = new World()
    world.commit(A)
    world.commit(B)
    const { open } = await createStation(t, world, { timing: { reconcileMs: 20 } })
    const reader = await open()
    await reader.event('snapshot')
    world.commit(A, { updatedAtMs: Date.now() - 600_000 }, 'completed')
    world.jobs.delete(B)
    await reader.event('progress.job.completed')
    await waitFor(() => world.reads.flat().includes(B))
    const late = await open({ lastEventId: '1.0' })
    t.same(
      (await late.event('snapshot')).data.jobs.map(job => job.id),
      [A],
    )
  },
)

t.test('old jobs that the reconciler sees for the first time are not sent', async t => {
  const world = new World()
  world.commit(A, { updatedAtMs: Date.now() - 90_000 }, 'completed')
  const { open } = await createStation(t, world, { timing: { reconcileMs: 20 } })
  const reader = await open()
  await reader.event('snapshot')
  await waitFor(() => world.revisionReads > 3)
  t.equal(reader.events.length, 1)
  t.same(world.reads, [], 'their documents are not even read')
})

t.test(
  'a job that a truncated snapshot left out is not read until it changes, and its change has the right name',
  async t => {
    const world = new World()
    const longAgo = Date.now() - 600_000
    const left = [A, B, C]
    for (const id of left) world.commit(id, { updatedAtMs: longAgo, createdAtMs: longAgo }, 'recovered')
    for (let n = 10; n < 1_010; n++) world.commit(jobId(n), { updatedAtMs: longAgo, createdAtMs: longAgo + 1 })
    const { open, live } = await createStation(t, world, { timing: { reconcileMs: 20 } })
    await waitFor(() => live.isListening())
    const reader = await open()
    const { data } = await reader.event('snapshot')
    t.equal(data.truncated, true)
    t.notOk(data.jobs.some(job => left.includes(job.id)))
    await waitFor(() => world.revisionReads > 3)
    t.same(world.reads, [])

    world.change(A)
    t.equal((await reader.revision(A, 2)).event, 'progress.job.updated', 'progress, whatever happened long ago')
    world.commit(B)
    t.equal((await reader.revision(B, 2)).event, 'progress.job.updated', 'also where nobody announced it')
    world.change(C, {}, 'completed')
    t.equal((await reader.revision(C, 2)).event, 'progress.job.completed')
    world.commit(jobId(4))
    t.equal((await reader.revision(jobId(4), 1)).event, 'progress.job.created', 'one that is new')
  },
)

t.test('the reconciler reads the watched tenants, and the jobs that callers wait for', async t => {
  const world = new World()
  world.commit(A)
  world.commit(B, { tenantId: OTHER_TENANT })
  const { open, live } = await createStation(t, world, { timing: { reconcileMs: 20, reconcileDeafMs: 20 } })
  const reader = await open()
  await reader.event('snapshot')
  await waitFor(() => world.revisionReads > 0)
  t.same(world.reconciled, [TENANT])
  const waiting = live.waitForJob(changed(B, 1, { tenantId: OTHER_TENANT }), AbortSignal.timeout(5_000))
  await waitFor(() => world.stateReads.length > 0)
  world.commit(B)
  t.match(await waiting, { revision: 2 })
  t.same(world.reconciled, [TENANT])
})

t.test('a failed read is repeated, and no change is lost', async t => {
  const world = new World()
  world.commit(A)
  const { open, live } = await createStation(t, world)
  const reader = await open()
  await reader.event('snapshot')
  world.onRead = () => Promise.reject(new Error('away'))
  world.change(A, {}, 'completed')
  await waitFor(() => live.stats().failedReads >= 2)
  world.onRead = () => undefined
  t.equal((await reader.event('progress.job.completed')).data.revision, 2)
})

t.test('the log says that reads work again after a read that has found documents', async t => {
  const world = new World()
  world.commit(A)
  const said: string[] = []
  const log = { ...silentLog, info: (_: object, message: string) => said.push(message) }
  const { open, live } = await createStation(t, world, { log })
  await waitFor(() => live.isListening())
  const reader = await open({ filter: filter({ topLevel: true }) })
  await reader.event('snapshot')
  world.onRead = kind => (kind === 'documents' ? Promise.reject(new Error('away')) : undefined)
  world.change(A)
  await waitFor(() => live.stats().failedReads > 0)
  reader.close()
  await waitFor(() => live.openStreams() === 0)

  // Marked while its snapshot is read, which has the change already: nothing is left to read.
  world.onRead = kind => {
    if (kind === 'documents') throw new Error('away')
    world.announce([{ tenantId: TENANT, jobId: A, revision: 2, lifecycle: true }])
  }
  const other = await open()
  await other.event('snapshot')
  await delay(300)
  t.same(said, [])
  world.onRead = () => undefined
  world.change(A)
  await other.revision(A, 3)
  await waitFor(() => said.length > 0)
  t.same(said, ['Changed jobs can be read again'])
})

t.test('a snapshot that cannot be read fails only its own request, and its place is given back', async t => {
  const world = new World()
  world.onRead = () => Promise.reject(new Error('away'))
  const { live } = await createStation(t, world)
  await t.rejects(live.open(request()), { message: 'away' })
  t.equal(live.openStreams(), 0)
  world.onRead = () => undefined
  const stream = await live.open(request())
  t.equal(live.openStreams(), 1)
  stream.abandon()
  t.equal(live.openStreams(), 0)
})

t.test('a tenant has at most 1,000 feeds, a process at most maxStreams streams', async t => {
  const world = new World()
  const { live } = await createStation(t, world, { maxStreams: 1_002 })
  const opened = await Promise.all(
    Array.from({ length: 1_000 }, (_, n) => live.open(request({ filter: filter({ jobType: `type ${n}` }) }))),
  )
  await t.rejects(live.open(request()), { code: 'too_many_streams' })
  await live.open(request({ filter: filter({ tenantId: OTHER_TENANT }) }))
  await live.open(request({ filter: filter({ jobType: 'type 1' }) }))
  await t.rejects(live.open(request({ filter: filter({ jobType: 'type 1' }) })), { code: 'too_many_streams' })
  opened[0]!.abandon()
  await live.open(request())
  t.equal(live.openStreams(), 1_002)
})

t.test(
  'a caller has at most maxStreamsPerCaller streams, and gets the place of a stream back however it ends',
  async t => {
    const world = new World()
    const { live, open } = await createStation(t, world, { maxStreamsPerCaller: 2 })
    const mine = { caller: 'me' }
    const full = async (name: string) => {
      await t.rejects(live.open(request(mine)), { code: 'too_many_streams', details: { retryAfterSeconds: 5 } }, name)
    }
    const [left, expiring] = await Promise.all([open(mine), open({ ...mine, expiresAtMs: Date.now() + 300 })])
    await full('with two that are open')
    ;(await live.open(request({ caller: 'you' }))).abandon()
    for (let n = 0; n < 3; n++) await live.open(request())
    left.close()
    await waitFor(() => live.openStreams() === 4)
    const abandoned = await live.open(request(mine))
    await full('with one that has not begun')
    abandoned.abandon()
    abandoned.abandon()
    world.onRead = () => Promise.reject(new Error('away'))
    const elsewhere = filter({ jobType: 'other' })
    for (let n = 0; n < 3; n++) {
      await t.rejects(
        live.open(request({ ...mine, filter: elsewhere })),
        { message: 'away' },
        'a failed one counts no longer',
      )
    }
    world.onRead = () => undefined
    await expiring.until(({ ended }) => ended)
    const both = [await live.open(request(mine)), await live.open(request(mine))]
    await full('two again, not one more')
    for (const stream of both) stream.abandon()
  },
)

t.test('a caller may name 10,000 jobs in all its streams, and the feeds of a tenant hold 200,000', async t => {
  const world = new World()
  const { live } = await createStation(t, world)
  let next = 0
  const named = (count: number, over: Partial<FeedFilter> = {}) =>
    filter({ jobIds: Array.from({ length: count }, () => jobId(next++)), ...over })
  const open = (caller: string, wanted: FeedFilter) => live.open(request({ caller, filter: wanted }))
  const refused = (message: RegExp) => ({ code: 'too_many_streams', message })
  const streams = []
  for (let n = 0; n < 100; n++) streams.push(await open('a', named(100)))
  await t.rejects(open('a', named(1)), refused(/^You follow 10000 jobs by name/))
  streams.push(await open('a', filter()), await open('b', named(100)))
  streams.shift()?.abandon()
  streams.push(await open('a', named(100)))
  await t.rejects(open('a', named(1)), refused(/^You follow/), 'places are given back, once')
  for (let n = 0; n < 19; n++) streams.push(await open(`c${n}`, named(9_900)))
  await t.rejects(open('d', named(9_900)), refused(/hold too many jobs/))
  streams.push(await open('d', named(9_900, { tenantId: OTHER_TENANT })))
  for (const stream of streams) stream.abandon()
  t.equal(live.openFeeds(), 0)
})

t.test('a feed keeps no documents of jobs, and its snapshots have the frames that were flushed meanwhile', async t => {
  const world = new World()
  const { live } = await createStation(t, world, { timing: { reconcileMs: 3_600_000, reconcileDeafMs: 3_600_000 } })
  await waitFor(() => live.isListening())
  const ids = Array.from({ length: 2_000 }, (_, n) => jobId(n))
  for (const id of ids) world.commit(id)
  const before = world.document.bind(world)
  world.document = id => {
    const document = before(id)
    return (
      document && {
        ...document,
        json: document.json.replace('{', `{"filler":"${randomBytes(1_000).toString('hex')}",`),
      }
    )
  }
  const streams: OpenStream[] = []
  collectGarbage()
  const used = process.memoryUsage().heapUsed
  for (let n = 0; n < 200; n++) {
    const jobIds = ids.slice(n * 10, n * 10 + 100)
    streams.push(await live.open(request({ filter: filter({ jobIds }) })))
  }
  collectGarbage()
  const kept = (process.memoryUsage().heapUsed - used) / 1e6
  t.ok(kept < 15, `${kept} MB: 200 feeds of 100 documents of 2 KB would be 40`)
  for (const stream of streams) stream.abandon()

  world.document = before
  for (const format of ['sse', 'ndjson'] as const) {
    const { open } = await createStation(t, world)
    const reader = await open({ format, filter: filter({ jobIds: [A, B] }) })
    await reader.event('snapshot')
    let goOn = () => {}
    world.onRead = kind => {
      if (kind === 'snapshot') return new Promise<void>(resolve => (goOn = resolve))
    }
    const late = open({ format, filter: filter({ jobIds: [A, B] }), lastEventId: null })
    world.change(A, {}, 'started')
    const { data } = await reader.revision(A, world.jobs.get(A)!.revision)
    world.onRead = () => undefined
    await delay(20)
    goOn()
    const snapshot = await (await late).event('snapshot')
    t.same(
      snapshot.data.jobs.find(({ id }) => id === A),
      data,
      format,
    )
  }
})

t.test('a thousand subscribers of one feed cost one encoding, and one write each per flush', async t => {
  const world = new World()
  world.commit(A)
  world.commit(B)
  const { open, live } = await createStation(t, world)
  const readers: Reader[] = []
  for (let n = 0; n < 20; n++) readers.push(...(await Promise.all(Array.from({ length: 50 }, () => open()))))
  for (const reader of readers) await reader.event('snapshot')
  const before = { ...live.stats() }
  world.announce([world.commit(A, {}, 'started'), world.commit(B, {}, 'started')])
  for (const reader of readers) await reader.revision(B, 2)
  t.equal(live.stats().serialisations - before.serialisations, 2)
  t.equal(live.stats().writes - before.writes, 1_000)
  for (const reader of readers) reader.close()
})

t.test('a reader that never reads costs no memory, does not hold up others, and is cut', async t => {
  const world = new World()
  const message = 'x'.repeat(20_000)
  world.document = id => {
    const job = world.jobs.get(id)
    return job ? { ...job, json: JSON.stringify({ id, message, revision: job.revision }) } : null
  }
  for (let n = 0; n < 50; n++) world.commit(jobId(n))
  let later = 0
  const { open, live, port } = await createStation(t, world, {
    intervalMs: 4,
    now: () => performance.now() + later,
    timing: { checkMs: 10 },
  })
  const deaf = await openDeafReader(port)
  await waitFor(() => live.openStreams() === 1)
  const reader = await open()
  const change = async (revision: number) => {
    const before = live.stats().bytes
    world.announce(Array.from({ length: 50 }, (_, n) => world.commit(jobId(n))))
    await reader.revision(jobId(49), revision)
    reader.events.length = 0
    reader.raw = ''
    return live.stats().bytes - before
  }
  // The kernel takes the first megabytes; then the deaf reader is given nothing more, however much changes.
  for (let revision = 2; revision < 30; revision++) await change(revision)
  for (let revision = 30; revision < 60; revision++) {
    const bytes = await change(revision)
    if (bytes > 1.1 * 50 * 20_200) t.fail(`${bytes} bytes were written for one reader that reads`)
  }
  t.equal(live.stats().cut, 0)
  later = 20_001
  await waitFor(() => live.stats().cut === 1)
  t.equal(live.openStreams(), 1, 'only the reader that reads is left')
  deaf.destroy()
})

t.test('a slow reader skips outdated states, and gets the newest state', async t => {
  const world = new World()
  const message = 'x'.repeat(100_000)
  world.document = id => {
    const job = world.jobs.get(id)
    return job ? { ...job, json: JSON.stringify({ id, message, revision: job.revision }) } : null
  }
  for (let n = 0; n < 20; n++) world.commit(jobId(n))
  const { open, live } = await createStation(t, world, { intervalMs: 4 })
  const slow = await open()
  const quick = await open()
  await slow.event('snapshot')
  slow.response.pause()
  const rounds = 30
  for (let round = 2; round <= rounds; round++) {
    world.announce(Array.from({ length: 20 }, (_, n) => world.commit(jobId(n))))
    await quick.revision(jobId(19), round)
    quick.raw = ''
    quick.events.length = 0
  }
  t.equal(live.stats().cut, 0)
  slow.response.resume()
  for (let n = 0; n < 20; n++) await slow.revision(jobId(n), rounds)
  t.ok(live.stats().catchUps > 0)
  t.ok(slow.events.length < 20 * (rounds - 1), `${slow.events.length} of ${20 * (rounds - 1)} frames`)
  const last = new Map(slow.events.slice(1).map(({ data }) => [data.id, data.revision]))
  t.ok([...last.values()].every(revision => revision === rounds))
})

t.test('a reader that reads gets all missed frames, few or many, small or large', async t => {
  /** The changes that were not yet delivered, by their numbers; the last one is `seq`. */
  let missed: Buffer[] = []
  const feed = {
    seq: 0,
    isOver: () => false,
    framesSince: (seq: number) => missed.map((frame, n) => ({ seq: n + 1, frame })).filter(change => change.seq > seq),
  }
  const limits = { acceptMs: 60_000, levelMs: 60_000, endMs: 1_000 }
  const stats = createStats()
  const server = createServer((_, response) => {
    response.flushHeaders()
    const now = () => performance.now()
    const options = { feed, untilFinishedJobId: null, farewell: null, limits, stats, now, onGone: () => undefined }
    const subscriber = new Subscriber(options)
    subscriber.prepare(missed[0]!, 1)
    feed.seq = missed.length
    subscriber.start(response, null, 60_000)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const KB = 1024
  // The first write is the snapshot, and the next ones catch up. Node takes 16 or 64 KB before it says that it is full.
  for (const snapshot of [1, 16 * KB, 64 * KB, 300 * KB])
    for (const size of [100, 16 * KB, 20 * KB, 64 * KB - 1, 64 * KB, 64 * KB + 1, 100 * KB, 3_000 * KB])
      for (const count of [1, 2, 5, 40].filter(many => many * size <= 6_000 * KB)) {
        missed = [snapshot, ...Array.from({ length: count }, () => size)].map(bytes => Buffer.alloc(bytes))
        const expected = snapshot + count * size
        const leave = new AbortController()
        const { body } = await fetch(url, { signal: leave.signal })
        const timer = setTimeout(() => leave.abort(), 5_000)
        let read = 0
        try {
          for await (const part of body!) if ((read += (part as Uint8Array).length) === expected) break
        } catch {
          // It was left waiting.
        }
        clearTimeout(timer)
        leave.abort()
        t.equal(read, expected, `${count} of ${size} bytes after ${snapshot}`)
      }
})

t.test('idle streams are kept alive, and end after their lifetime', async t => {
  const { open } = await createStation(t, new World(), { keepaliveSeconds: 0.02, timing: { lifetimeMs: 1_000 } })
  const [sse, lines] = await Promise.all([open(), open({ format: 'ndjson' })])
  await sse.until(({ raw }) => raw.endsWith('\n\n:\n\n'))
  await lines.until(({ raw }) => raw.endsWith('}\n\n'))
  await Promise.all([sse.until(({ ended }) => ended), lines.until(({ ended }) => ended)])
})

t.test('a stream never outlives its token, and others go on', async t => {
  const { open } = await createStation(t, new World(), { timing: { lifetimeMs: 3_600_000 } })
  const [long, short] = await Promise.all([open(), open({ expiresAtMs: Date.now() + 60 })])
  await short.until(({ ended }) => ended)
  t.notOk(long.ended)
})

t.test('closing ends all streams within a second, with a spread retry, and opens no more', async t => {
  const world = new World()
  world.commit(A)
  const { open, live, port } = await createStation(t, world)
  const readers = await Promise.all(Array.from({ length: 30 }, () => open()))
  for (const reader of readers) await reader.event('snapshot')
  const unstarted = await live.open(request())
  const deaf = await openDeafReader(port)
  await waitFor(() => live.openStreams() === 32)
  const begin = performance.now()
  await live.close()
  t.ok(performance.now() - begin < 1_000)
  for (const reader of readers) await reader.until(({ ended }) => ended)
  const retries = readers.map(({ raw }) => Number(/retry: (\d+)\n\n$/.exec(raw)?.[1]))
  t.ok(retries.every(retry => retry >= 500 && retry <= 5_000))
  t.ok(new Set(retries).size > 15)
  t.equal(live.openStreams(), 0)
  unstarted.abandon()
  await t.rejects(
    live.open(request()),
    new HeadwayError('shutting_down', 'This process is about to end; connect again'),
  )
  deaf.destroy()
})

t.test(
  'the state of a job for which many wait is read once per interval, and ends the waits that it satisfies',
  async t => {
    const world = new World()
    world.commit(A)
    world.commit(B, { tenantId: OTHER_TENANT })
    const { live } = await createStation(t, world, { intervalMs: 100, timing: { reconcileMs: 3_600_000 } })
    await waitFor(() => live.isListening())
    const end = new AbortController()
    setMaxListeners(0, end.signal)
    const [ended, left, kept] = [[] as unknown[], [] as unknown[], [] as unknown[]]
    for (let n = 0; n < 500; n++) {
      void live.waitForJob(finished(A), end.signal).then(state => kept.push(state))
      void live.waitForJob(changed(A, 1), end.signal).then(state => ended.push(state))
    }
    void live.waitForJob(changed(A, 1, { scopeJobId: B }), end.signal).then(state => left.push(state))
    void live.waitForJob(changed(B, 0), end.signal).then(state => left.push(state))
    await waitFor(() => left.length === 2)
    t.same(left, [null, null], 'a job that the caller does not see is as one that does not exist')
    t.same(world.stateReads, [[A, B]], 'one read for all jobs')
    world.announce([{ tenantId: TENANT, jobId: A, revision: 1, lifecycle: true }])
    const begin = performance.now()
    for (let revision = 2; revision <= 40; revision++) {
      world.change(A)
      await new Promise(resolve => setTimeout(resolve, 2))
    }
    await waitFor(() => ended.length === 500)
    const intervals = Math.ceil((performance.now() - begin) / 100)
    // And at most one for the waits that began when the state was already known.
    t.ok(world.stateReads.length <= 2 + intervals, `${world.stateReads.length} reads in ${intervals} intervals`)
    t.same([kept.length, world.reads, world.snapshotReads], [0, [], []], 'no document was read')
    world.change(A, {}, 'completed')
    await waitFor(() => kept.length === 500)
    t.match(kept[499], { id: A, finished: true, revision: 41 })
  },
)

t.test('the end of a wait for one job does not wait until all waits for another job have ended', async t => {
  const world = new World()
  world.commit(A)
  world.commit(B, { tenantId: OTHER_TENANT })
  const { live } = await createStation(t, world, { timing: { reconcileMs: 3_600_000 } })
  await waitFor(() => live.isListening())
  const end = new AbortController()
  setMaxListeners(0, end.signal)
  t.teardown(() => end.abort())
  let letGo = 0
  let letGoBefore = Infinity
  const began = new Promise<void>(resolve => {
    for (let n = 0; n < 2_000; n++) {
      void live.waitForJob(changed(A, 1), end.signal).then(() => {
        letGo++
        resolve()
      })
    }
  })
  await waitFor(() => world.stateReads.length === 1)
  world.change(A)
  await began
  const other = live.waitForJob(changed(B, 0, { tenantId: OTHER_TENANT }), end.signal)
  void other.then(() => (letGoBefore = letGo))
  t.match(await other, { id: B })
  t.ok(letGoBefore < 1_000, `${letGoBefore} of 2000 were let go before`)
  await waitFor(() => letGo === 2_000)
})

t.test('a wait counts only states that were read after it began, and ends with the last known state', async t => {
  const world = new World()
  world.commit(A)
  const { live } = await createStation(t, world, { timing: { reconcileMs: 3_600_000 } })
  await waitFor(() => live.isListening())
  const end = new AbortController()
  const first = live.waitForJob(finished(A), end.signal)
  await waitFor(() => world.stateReads.length === 1)
  world.commit(A)
  t.match(await live.waitForJob(changed(A, 1), AbortSignal.timeout(5_000)), { revision: 2 }, 'nobody announced it')
  world.commit(A)
  t.match(await live.waitForJob({ ...changed(A, 3), isEnough: () => true }, AbortSignal.timeout(5_000)), {
    revision: 3,
  })
  t.equal(await live.waitForJob(changed(A, 1), AbortSignal.abort()), null)
  end.abort()
  t.match(await first, { id: A, finished: false, revision: 3 })

  let reads = 0
  world.onRead = kind => {
    if (kind === 'states' && ++reads <= 2) throw new Error('away')
  }
  t.equal(await live.waitForJob(changed(A, 3), AbortSignal.timeout(5_000)), null, 'its own read tells what is wrong')
  world.onRead = () => undefined
  const waiting = live.waitForJob(changed(A, 3), AbortSignal.timeout(5_000))
  t.match(await live.waitForJob({ ...changed(A, 3), isEnough: () => true }, AbortSignal.timeout(5_000)), {
    revision: 3,
  })
  world.onRead = kind => {
    if (kind === 'states' && ++reads <= 3) throw new Error('away')
  }
  reads = 2
  world.change(A)
  t.match(await waiting, { revision: 4 }, 'who waits already goes on waiting, and the read is made again')
})

t.test('a finished job leaves its feed after a minute, once every subscriber has its end', async t => {
  const world = new World()
  let later = 0
  world.commit(A)
  const { open, live } = await createStation(t, world, {
    now: () => performance.now() + later,
    timing: { checkMs: 10, reconcileMs: 3_600_000 },
  })
  const reader = await open()
  await reader.event('snapshot')
  const behind = await live.open(request())
  world.change(A, {}, 'completed')
  await reader.event('progress.job.completed')
  const job = world.jobs.get(A)!
  world.jobs.set(A, { ...job, revision: 1 })
  later = 61_000
  await delay(50)
  const held = await open({ lastEventId: `${Date.now() - 300_000}.0` })
  t.equal((await held.event('snapshot')).data.jobs[0]?.revision, 2, 'one subscriber has not passed it: the feed has it')
  behind.abandon()
  await delay(50)
  const after = await open({ lastEventId: `${Date.now() - 900_000}.0` })
  t.equal((await after.event('snapshot')).data.jobs[0]?.revision, 1, 'now it does not')
})

t.test('a reader that leaves before its stream has begun keeps no place, and nothing more is read for it', async t => {
  const world = new World()
  world.commit(A)
  const { live } = await createStation(t, world)
  let answer = (): void => undefined
  world.onRead = kind => (kind === 'snapshot' ? new Promise<void>(resolve => (answer = resolve)) : undefined)
  const left = new AbortController()
  const opening = live.open(request({ left: left.signal, lastEventId: `${Date.now() - 1_000}.0` }))
  await waitFor(() => world.snapshotReads.length === 1)
  t.equal(live.openStreams(), 1)
  left.abort()
  t.equal(live.openStreams(), 0, 'its place is free while its snapshot is still read')
  answer()
  await t.rejects(opening, HeadwayError)
  t.equal(world.snapshotReads.length, 1, 'what it has missed is not read any more')
  await t.rejects(live.open(request({ left: left.signal })), HeadwayError, 'one that had left before')
  t.equal(world.snapshotReads.length, 1)
})

for (const [title, filterOf] of [
  ['of one feed', () => filter()],
  ['of feeds of their own', (n: number) => filter({ jobIds: [A, jobId(1_000 + n)] })],
] as const) {
  t.test(`between the writes of one change to many subscribers ${title}, the event loop serves others`, async t => {
    const world = new World()
    world.commit(A)
    const { live } = await createStation(t, world)
    await waitFor(() => live.isListening())
    let written = 0
    let isChanged = false
    const received = new Set<number>()
    for (let n = 0; n < 50; n++) {
      const response = Object.assign(new EventEmitter(), {
        write: () => {
          if (!isChanged) return true
          written += 1
          received.add(n)
          for (const until = performance.now() + 2; performance.now() < until;);
          return true
        },
        end: () => response.emit('close'),
        destroy: () => response.emit('close'),
      })
      const stream = await live.open(request({ filter: filterOf(n) }))
      stream.start(response as unknown as ServerResponse)
    }
    isChanged = true
    world.change(A)
    let most = 0
    for (let before = 0; received.size < 50; before = written) {
      await new Promise(resolve => setImmediate(resolve))
      most = Math.max(most, written - before)
    }
    t.ok(most <= 4, `${most} writes of 2 ms at once`)
    t.equal(written, 50, 'each gets it once')
  })
}

t.test('a thousand waits for one job all end, in small groups', async t => {
  const world = new World()
  world.commit(A)
  const { live } = await createStation(t, world)
  await waitFor(() => live.isListening())
  const revision = world.jobs.get(A)!.revision
  let gone = 0
  const signal = new AbortController().signal
  setMaxListeners(0, signal)
  const waits = Array.from({ length: 1_000 }, () =>
    live.waitForJob(changed(A, revision), signal).then(state => {
      gone += 1
      return state?.revision
    }),
  )
  await waitFor(() => world.stateReads.length > 0)
  world.change(A)
  let most = 0
  for (let before = 0; gone < 1_000; before = gone) {
    await new Promise(resolve => setImmediate(resolve))
    most = Math.max(most, gone - before)
  }
  t.ok(most <= 100, `${most} at once`)
  t.same(new Set(await Promise.all(waits)), new Set([revision + 1]))
})
