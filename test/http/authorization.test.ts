import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { FEATURES, type Feature } from '../../src/contract/tokens.ts'
import type { JobDocument, ListedJob } from '../../src/contract/job.ts'
import { inlineShared } from '../helpers/openapi.ts'
import { startService, type Reply, type Service } from '../helpers/service.ts'
import { bearer, mint, SECRET, secondsFromNow, type TestClaims } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'

const TENANT = randomUUID()
const ORGANIZATION = randomUUID()
/** All features but the one that sees all organizations. */
const WITHOUT_MANAGE = FEATURES.filter(feature => feature !== 'progress.manage')
const OWNER: TestClaims = { tenant_id: TENANT, organization_id: ORGANIZATION, features: WITHOUT_MANAGE }

const startGuarded = (t: Test, settings: Record<string, string> = {}) =>
  startService(t, { AUTH_JWT_SECRET: SECRET, LIVE_INTERVAL_MS: '50', ...settings })

interface StreamEvent {
  event: string
  id: string
  data: { id?: string; jobs?: { id: string }[] }
}

/** An open stream as lines; the token is in the header, or where the path has it. */
const follow = async (t: Test, { url }: Service, path: string, headers: Record<string, string> = {}) => {
  const client = new AbortController()
  t.teardown(() => client.abort())
  const response = await fetch(`${url}/api/progress${path}`, {
    headers: { accept: 'application/x-ndjson', ...headers },
    signal: client.signal,
  })
  const events: StreamEvent[] = []
  const read = async () => {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) if (line !== '') events.push(JSON.parse(line) as StreamEvent)
    }
  }
  const ended = response.status === 200 ? read().catch(() => undefined) : Promise.resolve()
  const idsSeen = () => new Set(events.flatMap(({ data }) => data.jobs?.map(job => job.id) ?? [data.id]))
  const snapshot = async () => (await waitFor(() => events.find(({ event }) => event === 'snapshot')))?.data.jobs ?? []
  return { response, events, ended, idsSeen, snapshot, close: () => client.abort() }
}

/** The jobs of the owner that nobody else may see: one that runs, one that has finished, and a key that one was made with. */
interface Foreign {
  running: JobDocument
  finished: JobDocument
  key: string
  webhookId: string
  badgeId: string
}

interface Probe {
  feature: Feature
  body?: unknown
  /**
   * What a stranger must see of a call that names no job in its path; `caller` is the service as the stranger calls it. Routes
   * with an `{id}` need none: a foreign job is 404 for all of them.
   */
  isBlind?: (t: Test, caller: Service, foreign: Foreign, name: string) => Promise<void>
}

const CREATE = { jobType: 'secret', name: 'mine' }

/** Whoever may manage another tenant sees its webhooks; whoever may not manage, or only one job, sees none. */
const seesNoWebhook: Probe['isBlind'] = async (t, caller, { webhookId }, name) => {
  const list = await caller.call('GET', '/webhooks')
  if (list.status !== 403) t.match(list, { status: 200, body: { items: [] } }, name)
  const calls: [string, string][] = [
    ['GET', ''],
    ['PUT', ''],
    ['DELETE', ''],
    ['POST', '/rotate-secret'],
    ['POST', '/test'],
    ['GET', '/deliveries'],
    ['POST', `/deliveries/${randomUUID()}/redeliver`],
  ]
  for (const [method, path] of calls) {
    const { status, body } = await caller.call(method, `/webhooks/${webhookId}${path}`)
    if (status !== 403)
      t.match({ status, body }, { status: 404, body: { code: 'webhook_not_found' } }, `${name}: ${path}`)
  }
}

/** Whoever may manage another tenant sees its badges; whoever may not manage, or only one job, sees none. */
const seesNoBadge: Probe['isBlind'] = async (t, caller, { badgeId }, name) => {
  const list = await caller.call('GET', '/badges')
  if (list.status !== 403) t.match(list, { status: 200, body: { items: [] } }, name)
  const { status } = await caller.call('DELETE', `/badges/${badgeId}`)
  if (status !== 403) t.equal(status, 404, name)
}

/** How each operation of the API is called. A new one must be added here, with what a stranger may see of it. */
const PROBES: Record<string, Probe> = {
  createJob: {
    feature: 'progress.create',
    body: CREATE,
    async isBlind(t, caller, { running, key }, name) {
      type Made = Pick<JobDocument, 'id' | 'tenantId' | 'organizationId'> & { detail: string }
      const { status, body } = await caller.call<Made>('POST', '/jobs', CREATE, { 'idempotency-key': key })
      if (status === 403) {
        t.match(body.detail, /limited to one job/, `${name}: a token for one job makes no others`)
        return
      }
      t.equal(status, 201, `${name}: the key of another is no key`)
      t.not(body.id, running.id)
      t.notMatch([body.tenantId, body.organizationId], [TENANT, ORGANIZATION], `${name}: it is the caller's own`)
      const partition = await caller.call('POST', '/jobs', { ...CREATE, parentJobId: running.id })
      t.match(partition, { status: 404, body: { code: 'parent_not_found' } }, `${name}: no partition of another's job`)
      // Erased, because the caller must find no job in the checks that follow.
      await caller.database.pool.query('DELETE FROM progress_jobs WHERE id = $1', [body.id])
    },
  },
  listJobs: {
    feature: 'progress.view',
    async isBlind(t, caller, { running }, name) {
      const filters = [
        '',
        `organizationId=${ORGANIZATION}`,
        `parentJobId=${running.id}`,
        'search=mine',
        'status=running&status=completed',
      ]
      for (const filter of filters) {
        const { status, body } = await caller.call('GET', `/jobs?includeCompleted=true&${filter}`)
        t.match({ status, body }, { status: 200, body: { items: [], total: 0 } }, `${name}: ${filter}`)
      }
    },
  },
  listActiveJobs: {
    feature: 'progress.view',
    async isBlind(t, caller, _foreign, name) {
      t.same((await caller.call('GET', '/active?recentSeconds=3600')).body, { active: [], recentlyCompleted: [] }, name)
    },
  },
  getStatistics: {
    feature: 'progress.view',
    async isBlind(t, caller, _foreign, name) {
      t.same((await caller.call<{ types?: unknown }>('GET', '/stats')).body.types, [], name)
    },
  },
  streamJobs: {
    feature: 'progress.view',
    async isBlind(t, caller, { running }, name) {
      for (const path of ['/stream', `/stream?jobId=${running.id}`, `/stream?parentJobId=${running.id}`]) {
        const stream = await follow(t, caller, path, caller.headers)
        t.same(await stream.snapshot(), [], `${name}: ${path}`)
        const named = `/stream?organizationId=${ORGANIZATION}`
        const other = await follow(t, caller, named, caller.headers)
        if (other.response.status === 200) t.same(await other.snapshot(), [], `${name}: ${named}`)
        else t.equal(other.response.status, 403, `${name}: ${named}`)
        other.close()
        stream.close()
      }
    },
  },
  reportHeartbeats: {
    feature: 'progress.update',
    body: { heartbeats: [{ jobId: randomUUID() }] },
    async isBlind(t, caller, { running, finished }, name) {
      const heartbeats = [running, finished].map(({ id }) => ({ jobId: id, processedCount: 9 }))
      const { status, body } = await caller.call('POST', '/heartbeats', { heartbeats })
      t.match(
        { status, body },
        { status: 200, body: { results: [{ code: 'job_not_found' }, { code: 'job_not_found' }] } },
        name,
      )
    },
  },
  getJob: { feature: 'progress.view' },
  getProgress: { feature: 'progress.view' },
  getJobBadge: {
    feature: 'progress.view',
    async isBlind(t, caller, { running, finished }, name) {
      const unknown = await caller.call<unknown>('GET', `/jobs/${randomUUID()}/badge.svg`)
      t.match(unknown, { status: 404, body: /no job/ }, name)
      for (const { id } of [running, finished]) {
        const { status, body } = await caller.call<unknown>('GET', `/jobs/${id}/badge.svg`)
        t.same({ status, body }, { status: unknown.status, body: unknown.body }, `${name}: as if it were not there`)
      }
    },
  },
  listJobEvents: { feature: 'progress.view' },
  listPartitions: { feature: 'progress.view' },
  streamJob: { feature: 'progress.view' },
  updateJob: { feature: 'progress.update', body: { processedCount: 9 } },
  reportHeartbeat: { feature: 'progress.update', body: { processedCount: 9 } },
  reportTrainerStatus: { feature: 'progress.update', body: { trainerStatus: { progressPercentage: 9 } } },
  incrementJob: { feature: 'progress.update', body: { increment: 9 } },
  startJob: { feature: 'progress.update' },
  completeJob: { feature: 'progress.update' },
  failJob: { feature: 'progress.update', body: { errorMessage: 'no' } },
  acknowledgeCancel: { feature: 'progress.update' },
  cancelJob: { feature: 'progress.cancel' },
  deleteJob: { feature: 'progress.cancel' },
  retryJob: { feature: 'progress.create' },
  createBadge: { feature: 'progress.manage', body: { jobType: 'secret' }, isBlind: seesNoBadge },
  listBadges: { feature: 'progress.manage', isBlind: seesNoBadge },
  deleteBadge: { feature: 'progress.manage', isBlind: seesNoBadge },
  ...Object.fromEntries(
    Object.entries({
      createWebhook: { url: 'https://hooks.example.com/' },
      listWebhooks: undefined,
      getWebhook: undefined,
      updateWebhook: { enabled: false },
      deleteWebhook: undefined,
      rotateWebhookSecret: undefined,
      testWebhook: undefined,
      listDeliveries: undefined,
      redeliver: undefined,
    }).map(([id, body]): [string, Probe] => [id, { feature: 'progress.manage', body, isBlind: seesNoWebhook }]),
  ),
}

interface Operation {
  id: string
  method: string
  /** Below the base path, with `{id}`. */
  path: string
  responses: Record<string, { description: string; headers?: object }>
  security: Record<string, unknown>[]
}

/** Every operation below the base path, as the service itself describes them. */
const readOperations = async ({ url }: Service): Promise<Operation[]> => {
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, Pick<Operation, 'responses'> & Partial<Operation> & { operationId: string }>>
    components: object
    security: Record<string, unknown>[]
  }
  const { paths, security: byDefault } = inlineShared(document)
  return Object.entries(paths)
    .filter(([path]) => path.startsWith('/api/progress/'))
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { operationId, responses, security = byDefault }]) => ({
        id: operationId,
        method: method.toUpperCase(),
        path: path.slice('/api/progress'.length),
        responses,
        security,
      })),
    )
}

const probeOf = ({ id, path }: Operation): Probe => {
  const probe = PROBES[id]
  if (!probe) throw new Error(`${id} is new: say in PROBES how it is called, and what a stranger may see of it`)
  if (!path.includes('{id}') && !probe.isBlind)
    throw new Error(`${id} names no job: say in PROBES what a stranger sees`)
  return probe
}

const callOperation = (caller: Service, operation: Operation, jobId: string) =>
  caller.call(operation.method, operation.path.replace('{id}', jobId), probeOf(operation).body)

t.test('every operation is covered, and says in its description who may call it', async t => {
  const operations = await readOperations(await startGuarded(t))
  t.same(operations.map(({ id }) => id).sort(), Object.keys(PROBES).sort())
  for (const { id, path, responses, security } of operations) {
    const inQuery = path.endsWith('/stream')
    t.same(security, [{ bearer: [] }, ...(inQuery ? [{ accessToken: [] }] : [])], id)
    for (const status of ['401', '403'])
      t.ok(responses[status]?.headers && 'www-authenticate' in responses[status].headers, id)
    t.match(responses['503']?.description, /keys_unavailable/, id)
  }
})

t.test('every operation is refused without a token and with a bad token', async t => {
  const service = await startGuarded(t)
  const { id } = await service.as(await mint(OWNER)).createJob()
  for (const operation of await readOperations(service)) {
    for (const caller of [service, service.as('bad'), service.as(await mint({ exp: secondsFromNow(-100) }))]) {
      const { status, body, headers } = await callOperation(caller, operation, id)
      t.match({ status, body }, { status: 401, body: { code: 'unauthenticated' } }, operation.id)
      t.match(headers.get('www-authenticate'), /^Bearer realm="headway"/, operation.id)
    }
  }
  for (const path of ['/healthz', '/readyz', '/openapi.json', '/docs/'])
    t.equal((await fetch(service.url + path)).status, 200, path)
})

t.test('every operation needs exactly its own feature', async t => {
  const service = await startGuarded(t)
  for (const operation of await readOperations(service)) {
    const { feature } = probeOf(operation)
    for (const given of FEATURES) {
      // Of a job that is not there: whoever may call gets as far as that, and nothing is changed.
      const caller = service.as(await mint({ features: [given] }))
      if (given === feature) {
        if (operation.id === 'streamJobs') continue
        t.not((await callOperation(caller, operation, randomUUID())).status, 403, `${operation.id} with ${given}`)
      } else {
        const { status, headers } = await callOperation(caller, operation, randomUUID())
        t.equal(status, 403, `${operation.id} with ${given}`)
        t.match(headers.get('www-authenticate'), /error="insufficient_scope", error_description="[^"]*progress\.\w+/)
      }
    }
    const none = await callOperation(service.as(await mint({ features: [] })), operation, randomUUID())
    t.equal(none.status, 403, `${operation.id} with nothing`)
  }
  const purge = `/jobs/${randomUUID()}?purge=true`
  t.equal((await service.as(await mint({ features: WITHOUT_MANAGE })).call('DELETE', purge)).status, 403)
  t.equal((await service.as(await mint({ features: ['progress.manage'] })).call('DELETE', purge)).status, 404)
})

/** The content of an answer without the id that was asked for. */
const toldBy = ({ status, body, headers }: Reply<unknown>, jobId: string): string =>
  JSON.stringify([status, body, headers.get('etag'), headers.get('www-authenticate')])
    .replaceAll(jobId, 'the id')
    .replace(/"requestId":"[^"]*"/, '')

t.test('no operation finds a job of another tenant, organization or job token', async t => {
  const service = await startGuarded(t)
  const owner = service.as(await mint(OWNER))
  const key = randomUUID()
  const { body: running } = await owner.call<JobDocument>('POST', '/jobs', CREATE, { 'idempotency-key': key })
  await owner.heartbeat(running.id, { processedCount: 1 })
  const finished = await owner.createJob(CREATE)
  const manager = service.as(await mint({ tenant_id: TENANT }))
  const webhook = { url: 'https://hooks.example.com/', enabled: false }
  const webhookId = (await manager.call<{ id: string }>('POST', '/webhooks', webhook)).body.id
  const badgeId = (await manager.call<{ id: string }>('POST', '/badges', { jobType: 'secret' })).body.id
  await owner.call('POST', `/jobs/${finished.id}/fail`, { errorMessage: 'as told' })
  const batch = (await owner.createJob({ partitions: [{ name: 'one' }], cancellable: true })) as JobDocument & {
    partitions: { id: string }[]
  }
  const theirs = [running.id, finished.id, batch.id, batch.partitions[0]!.id]
  const read = async () => [...(await Promise.all(theirs.map(id => owner.job(id)))), await owner.history(running.id)]
  const before = await read()
  const watching = await follow(t, service, '/stream', bearer(await mint(OWNER)))
  t.equal((await watching.snapshot()).length, 4)

  const strangers: Record<string, TestClaims> = {
    'another tenant': { tenant_id: randomUUID() },
    'another tenant that names the same organization': { tenant_id: randomUUID(), organization_id: ORGANIZATION },
    'another organization': { tenant_id: TENANT, organization_id: randomUUID(), features: WITHOUT_MANAGE },
    'no organization': { tenant_id: TENANT, features: WITHOUT_MANAGE },
    'a token for another job': { ...OWNER, job_id: randomUUID() },
    'a token for another job that manages': { tenant_id: TENANT, job_id: randomUUID() },
  }
  const operations = await readOperations(service)
  for (const [name, claims] of Object.entries(strangers)) {
    const caller = service.as(await mint(claims))
    for (const operation of operations) {
      const { isBlind } = probeOf(operation)
      if (isBlind) {
        await isBlind(t, caller, { running, finished, key, webhookId, badgeId }, `${operation.id} by ${name}`)
        continue
      }
      const nowhere = randomUUID()
      const unknown = await callOperation(caller, operation, nowhere)
      t.match(unknown, { status: 404, body: { code: 'job_not_found' } }, `${operation.id} by ${name}`)
      for (const id of theirs) {
        const told = toldBy(await callOperation(caller, operation, id), id)
        t.equal(told, toldBy(unknown, nowhere), `${operation.id} by ${name}: as if it were not there`)
      }
    }
    for (const path of ['', '/progress']) {
      t.equal((await caller.call('HEAD', `/jobs/${running.id}${path}`)).status, 404, `HEAD ${path} by ${name}`)
      for (const headers of [
        { 'if-none-match': '*' },
        { 'if-none-match': '*', prefer: 'wait=1' },
        { prefer: 'wait=1' },
      ]) {
        const waiting = await caller.call('GET', `/jobs/${running.id}${path}?until=finished`, undefined, headers)
        t.equal(waiting.status, 404, `it is neither known nor waited for: ${path} by ${name}`)
      }
    }
    const purged = await caller.call('DELETE', `/jobs/${finished.id}?purge=true`)
    t.equal(purged.status, claims['features'] ? 403 : 404, `purge by ${name}`)
  }
  t.same(await read(), before, 'and nothing of it was changed')
  t.equal(watching.events.length, 1, 'nor heard of')
})

t.test('streams of callers who may not see a job stay silent while it changes', async t => {
  const service = await startGuarded(t)
  const owner = service.as(await mint(OWNER))
  const strangers = await Promise.all(
    [
      { tenant_id: randomUUID(), organization_id: ORGANIZATION },
      { tenant_id: TENANT, organization_id: randomUUID(), features: WITHOUT_MANAGE },
      { tenant_id: TENANT, features: WITHOUT_MANAGE },
      { ...OWNER, job_id: randomUUID() },
    ].map(async claims => follow(t, service, '/stream', bearer(await mint(claims)))),
  )
  const own = await follow(t, service, `/stream?access_token=${await mint(OWNER)}`)
  const manager = await follow(t, service, '/stream', bearer(await mint({ tenant_id: TENANT })))
  for (const stream of [...strangers, own, manager]) await stream.snapshot()
  const { id } = await owner.createJob()
  await owner.heartbeat(id, { processedCount: 5 })
  await owner.call('POST', `/jobs/${id}/complete`)
  for (const stream of [own, manager])
    await waitFor(() => stream.events.some(({ event }) => event.endsWith('completed')))
  // Streams of one tenant are served in one turn; the foreign tenant's would have had this one's time as well.
  for (const { events } of strangers) t.equal(events.length, 1, 'a snapshot, and no more')
})

t.test('a caller with progress.manage sees every organization of the tenant, others see their own or none', async t => {
  const service = await startGuarded(t)
  const other = randomUUID()
  const callers = {
    owner: service.as(await mint(OWNER)),
    neighbour: service.as(await mint({ ...OWNER, organization_id: other })),
    nobody: service.as(await mint({ tenant_id: TENANT, features: WITHOUT_MANAGE })),
    manager: service.as(await mint({ tenant_id: TENANT })),
  }
  const names = ['owner', 'neighbour', 'nobody'] as const
  const jobs = Object.fromEntries(
    await Promise.all(names.map(async name => [name, (await callers[name].createJob({ name })).id] as const)),
  ) as Record<(typeof names)[number], string>
  const listed = async (caller: Service, query = '') => {
    const { body } = await caller.call<{ items: ListedJob[] }>('GET', `/jobs${query}`)
    return body.items.map(({ name }) => name).sort()
  }
  for (const name of names) {
    t.same(await listed(callers[name]), [name])
    for (const target of names) {
      t.equal(
        (await callers[name].call('GET', `/jobs/${jobs[target]}`)).status,
        target === name ? 200 : 404,
        `${name} → ${target}`,
      )
      t.equal((await callers.manager.call('GET', `/jobs/${jobs[target]}`)).status, 200, `manager → ${target}`)
    }
  }
  t.same(await listed(callers.manager), ['neighbour', 'nobody', 'owner'])
  t.same(await listed(callers.manager, `?organizationId=${other}`), ['neighbour'])
})

t.test('a token for one job sees that job and its partitions, and nothing else, in every call', async t => {
  const service = await startGuarded(t)
  const owner = service.as(await mint(OWNER))
  const [parent, sibling] = [await owner.createJob({ partitionCount: 2 }), await owner.createJob()]
  const limited = service.as(await mint({ ...OWNER, job_id: parent.id }))
  const partition = await limited.createJob({ parentJobId: parent.id })
  const visible = [parent.id, partition.id].sort()
  for (const id of visible) {
    for (const path of ['', '/progress', '/events'])
      t.equal((await limited.call('GET', `/jobs/${id}${path}`)).status, 200, path)
  }
  t.equal((await limited.call('GET', `/jobs/${sibling.id}`)).status, 404)
  const { body: page } = await limited.call<{ items: ListedJob[]; total: number }>('GET', '/jobs')
  t.same(page.items.map(({ id }) => id).sort(), visible)
  t.equal(page.total, 2)
  const { body: active } = await limited.call<{ active: ListedJob[] }>('GET', '/active')
  t.same(
    active.active.map(({ id }) => id),
    [parent.id],
    'only top-level jobs are here',
  )

  const stream = await follow(t, service, '/stream', limited.headers)
  t.same((await stream.snapshot()).map(({ id }) => id).sort(), visible)
  const heartbeats = [partition, sibling].map(({ id }) => ({ jobId: id, processedCount: 3 }))
  const bulk = await limited.call<{ results: object[] }>('POST', '/heartbeats', { heartbeats })
  t.match(bulk.body.results, [{ status: 'running', durable: true }, { code: 'job_not_found' }])
  await owner.heartbeat(sibling.id, { processedCount: 1 })
  await waitFor(() => stream.events.find(({ event, data }) => event.endsWith('started') && data.id === partition.id))
  await owner.call('POST', `/jobs/${sibling.id}/complete`)
  t.equal((await limited.call('POST', `/jobs/${sibling.id}/complete`)).status, 404)
  t.equal((await limited.call('POST', `/jobs/${partition.id}/complete`)).status, 200)
  await waitFor(() => stream.events.find(({ event, data }) => event.endsWith('completed') && data.id === partition.id))
  t.notOk(stream.idsSeen().has(sibling.id))
  t.same((await limited.call<{ types: unknown[] }>('GET', '/stats')).body.types, [], 'a partition is part of its batch')
  t.match((await owner.call<{ types: unknown[] }>('GET', '/stats')).body.types, [{ completed: 1 }], 'the sibling')

  const ofPartition = service.as(await mint({ ...OWNER, job_id: partition.id }))
  t.equal((await ofPartition.call('GET', `/jobs/${partition.id}`)).status, 200)
  t.equal(
    (await ofPartition.call('GET', `/jobs/${parent.id}`)).status,
    404,
    'a token for a partition does not reach up',
  )
  const job = await limited.call('POST', '/jobs', { jobType: 'test', name: 'another' })
  t.match(job, { status: 403, body: { code: 'forbidden' } })
  t.match(job.headers.get('www-authenticate'), /insufficient_scope/)
})

t.test(
  'a heartbeat for a job of another tenant does not lock the job, and takes as long as one for an unknown job',
  async t => {
    const service = await startGuarded(t)
    const owner = service.as(await mint(OWNER))
    const { id, partitions } = (await owner.createJob({ partitions: [{ name: 'one' }] })) as JobDocument & {
      partitions: { id: string }[]
    }
    const ids = [id, partitions[0]!.id, (await owner.createJob()).id]
    const lockers = async () => {
      const query = 'SELECT xmax::text FROM progress_jobs WHERE id = ANY ($1) ORDER BY id'
      return (await service.database.pool.query<{ xmax: string }>(query, [ids])).rows
    }
    const before = await lockers()
    const stranger = service.as(await mint({ organization_id: ORGANIZATION }))
    for (const jobId of ids) t.equal((await stranger.heartbeat(jobId)).status, 404)
    t.same(await lockers(), before)
    t.equal((await owner.heartbeat(partitions[0]!.id)).status, 200)
    t.notSame(await lockers(), before, 'its own are locked')
  },
)

t.test('a token for one job learns nothing of the job that an idempotency key has made', async t => {
  const service = await startGuarded(t)
  const owner = service.as(await mint(OWNER))
  const [batch, key] = [await owner.createJob({ partitionCount: 2 }), randomUUID()]
  const { body: other } = await owner.call<JobDocument>('POST', '/jobs', CREATE, { 'idempotency-key': key })
  const limited = service.as(await mint({ ...OWNER, job_id: batch.id }))
  const partition = { name: 'mine', parentJobId: batch.id }
  const taken = await limited.call('POST', '/jobs', partition, { 'idempotency-key': key })
  t.match(taken, { status: 422, body: { code: 'idempotency_key_reused' } })
  t.notOk(JSON.stringify(taken.body).includes(other.id))
  const [fresh, again] = await Promise.all(
    [1, 2].map(() => limited.call<JobDocument>('POST', '/jobs', partition, { 'idempotency-key': `${key}2` })),
  )
  t.equal(fresh?.body.id, again?.body.id, 'its own keys work')
})

t.test('the history names the sub of the token that acted', async t => {
  const service = await startGuarded(t)
  const creator = service.as(await mint({ ...OWNER, sub: 'creator@example.com' }))
  const { id, startedByUserId } = await creator.createJob({ cancellable: true })
  t.equal(startedByUserId, 'creator@example.com')
  const canceller = service.as(await mint({ ...OWNER, sub: 'auth0|42' }))
  const { body } = await canceller.call<JobDocument>('POST', `/jobs/${id}/cancel`)
  t.match(body, { tenantId: TENANT, organizationId: ORGANIZATION, cancelledByUserId: 'auth0|42' })
})

t.test('a stream ends when its token expires, and is not resumed with an expired token', async t => {
  const service = await startGuarded(t)
  const { id } = await service.as(await mint(OWNER)).createJob()
  for (const path of ['/stream', `/jobs/${id}/stream`]) {
    const exp = secondsFromNow(1.5)
    const token = await mint({ ...OWNER, exp })
    const stream = await follow(t, service, `${path}?access_token=${token}`)
    await stream.snapshot()
    await stream.ended
    const late = Date.now() - exp * 1000
    t.ok(
      late > -50 && late < 500,
      `${path}: ${Math.round(late)} ms after its end, though 60 s of skew are forgiven elsewhere`,
    )
    t.equal((await service.as(token).call('GET', `/jobs/${id}`)).status, 200, 'as here')
    const lastEventId = stream.events.at(-1)!.id
    const resume = async (claims: TestClaims) => {
      const again = await follow(t, service, path, { ...bearer(await mint(claims)), 'last-event-id': lastEventId })
      again.close()
      return again.response.status
    }
    const again = await follow(t, service, `${path}?access_token=${token}&lastEventId=${lastEventId}`)
    t.equal(again.response.status, 401, `${path}: with the same token`)
    t.equal(await resume({ ...OWNER, exp: secondsFromNow(-100) }), 401)
    t.equal(await resume({ ...OWNER, features: ['progress.update'] }), 403)
    t.equal(await resume(OWNER), 200)
    const foreign = await resume({ ...OWNER, tenant_id: randomUUID() })
    t.equal(foreign, path === '/stream' ? 200 : 404)
  }
})

t.test('heartbeats with different tokens for one worker are each written with the rights of their token', async t => {
  const service = await startGuarded(t)
  const owner = service.as(await mint(OWNER))
  const { id } = await owner.createJob()
  const stranger = service.as(await mint({ ...OWNER, organization_id: randomUUID() }))
  const limited = service.as(await mint({ ...OWNER, job_id: randomUUID() }))
  const callers = [owner, stranger, limited]
  const replies = await Promise.all(
    Array.from({ length: 60 }, (_, n) => callers[n % 3]!.call('POST', `/jobs/${id}/increment`, { increment: 1 })),
  )
  t.same(
    replies.map(({ status }) => status),
    Array.from({ length: 60 }, (_, n) => (n % 3 === 0 ? 200 : 404)),
  )
  t.equal((await owner.job(id)).processedCount, 20)
})
