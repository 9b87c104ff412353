import fc from 'fast-check'
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { startService, type Service } from '../helpers/service.ts'
import { mint, SECRET, secondsFromNow } from '../helpers/tokens.ts'
import { Client, type Answer } from './fuzz/client.ts'
import { EVERYWHERE, readContract, type Contract, type OpenApi } from './fuzz/contract.ts'
import { anyRequest, toBytes, type Caller, type FuzzRequest } from './fuzz/requests.ts'

/** `npm run fuzz` sends more, each time others. */
const REQUESTS = Number(process.env['FUZZ_REQUESTS'] ?? 2_000)
const SEED = Number(process.env['FUZZ_SEED'] ?? 20_260_131)

/** How many requests are sent at once, so that they change the same jobs at the same time. */
const AT_ONCE = 8

/** So many times eight are made at a time. */
const ROUND = 25

const ERROR_LEVEL = 50

const PROBLEM = 'application/problem+json'

interface Fuzzed {
  service: Service
  port: number
  clients: Client[]
  jobIds: string[]
  /** With a delivery of each. */
  webhooks: { id: string; deliveryId: string }[]
  badges: { id: string; token: string }[]
}

/** Jobs in every state, so that most requests find a job that they can change. */
const makeJobs = async (service: Service): Promise<string[]> => {
  const ids: string[] = []
  const add = async (fields: Record<string, unknown>, ...calls: [path: string, body?: unknown][]) => {
    const { id, partitions } = (await service.createJob(fields)) as { id: string; partitions?: { id: string }[] }
    for (const [path, body = {}] of calls) await service.call('POST', `/jobs/${id}${path}`, body)
    ids.push(id, ...(partitions ?? []).map(partition => partition.id))
  }
  for (let round = 0; round < 4; round++) {
    await add({ cancellable: true })
    await add({ totalCount: 1_000, cancellable: true }, ['/start'])
    await add({ cancellable: true, unit: 'rows' }, ['/heartbeat', { workerId: 'a', processedCount: 1 }], ['/cancel'])
    await add({}, ['/fail', { errorMessage: 'broken' }])
    await add({}, ['/complete', { resultSummary: { a: 1 } }])
    await add({ stages: [{ name: 'a' }, { name: 'b', weight: 3 }, { name: 'import' }] })
    await add({ partitions: [{ name: 'a', totalCount: 5 }, { name: 'b' }], cancellable: true })
    await add({ partitionCount: 1_000 })
  }
  return ids
}

const makeWebhooks = async (service: Service): Promise<Fuzzed['webhooks']> => {
  const made = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const { body } = await service.call<{ id: string }>('POST', '/webhooks', {
        url: 'http://127.0.0.1:1/',
        events: [],
      })
      const test = await service.call<{ id: string }>('POST', `/webhooks/${body.id}/test`)
      return { id: body.id, deliveryId: test.body.id }
    }),
  )
  return made
}

const makeBadges = (service: Service): Promise<Fuzzed['badges']> =>
  Promise.all(
    Array.from({ length: 20 }, async () => {
      const { body } = await service.call<{ id: string; token: string }>('POST', '/badges', { jobType: 'import' })
      return body
    }),
  )

const open = async (service: Service): Promise<Fuzzed> => {
  const port = Number(new URL(service.url).port)
  return {
    service,
    port,
    clients: Array.from({ length: AT_ONCE }, () => new Client(port)),
    jobIds: await makeJobs(service),
    webhooks: await makeWebhooks(service),
    badges: await makeBadges(service),
  }
}

const tokensOf = async (jobId: string, tenantId: string): Promise<Record<Caller, string | null>> => ({
  all: await mint({ tenant_id: tenantId, sub: 'all' }),
  view: await mint({ tenant_id: tenantId, features: ['progress.view'] }),
  otherTenant: await mint(),
  oneJob: await mint({ tenant_id: tenantId, job_id: jobId, sub: '🦊' }),
  nothing: await mint({ tenant_id: tenantId, features: [] }),
  expired: await mint({ tenant_id: tenantId, exp: secondsFromNow(-3_600) }),
  garbage: 'garbage',
  nobody: null,
})

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The defect of a refusal, or null. */
const problemWith = (contract: Contract, request: FuzzRequest, { status, headers, body }: Answer): string | null => {
  const { operation, method, mangled } = request
  const isElsewhere = mangled.some(what => ['path', 'method', 'version'].includes(what))
  const places = isElsewhere ? contract.operations : [operation]
  const type = headers['content-type'] ?? ''
  if (type !== PROBLEM) {
    const isPicture = places.some(({ answers }) => Object.hasOwn(answers.get(status) ?? {}, type.split(';')[0] ?? ''))
    return isPicture ? null : `a ${type}`
  }
  if (method === 'HEAD') return null
  const problem = parse(body.toString()) as { status: number; code: string; requestId: string }
  if (!contract.isProblem(problem)) return `no problem document: ${body.toString().slice(0, 300)}`
  if (problem.status !== status || problem.requestId !== headers['x-request-id'])
    return 'it says other things than its headers'
  const { code } = problem
  if (EVERYWHERE.has(code)) return null
  if (request.open && ['forbidden', 'misdirected_request'].includes(code)) return null
  if (isElsewhere && ['route_not_found', 'method_not_allowed'].includes(code)) return null
  return places.some(place => place.codes.get(status)?.has(code) === true) ? null : `${code} is not documented`
}

const frameOf = (type: string, body: string): boolean => {
  if (type.startsWith('application/x-ndjson')) return parse(body.split('\n')[0] ?? '') !== undefined
  return type.startsWith('text/plain') ? body.startsWith('\r') : /^(?:retry|id|event|data|:)/.test(body)
}

/** The defect of an answer, or null. */
const faultOf = (contract: Contract, request: FuzzRequest, answer: Answer): string | null => {
  const { operation, method, mangled } = request
  const { status, headers, body } = answer
  if (!(status >= 200) || status >= 500) return `status ${status}`
  if (headers['x-request-id'] === undefined || headers['x-content-type-options'] !== 'nosniff')
    return 'headers are missing'
  if (headers['set-cookie'] !== undefined) return 'a forged header'
  if (status >= 400) return problemWith(contract, request, answer)
  if (mangled.includes('path') || method !== operation.method) return null
  const documented = operation.answers.get(status)
  if (documented === undefined) return `${status} is not documented`
  const type = headers['content-type'] ?? ''
  if (documented === null) return body.length > 0 ? 'a body' : null
  const validate = documented[type.split(';')[0] ?? '']
  if (!validate) return `a ${type}`
  if (answer.endless) return frameOf(type, body.toString()) ? null : `no frame: ${body.toString().slice(0, 100)}`
  const value = type.startsWith('application/json') ? parse(body.toString()) : body.toString()
  return validate(value) ? null : `${JSON.stringify(validate.errors?.[0])} in ${body.toString().slice(0, 500)}`
}

/** A body that never comes, or whose end nobody can tell: such a request is sent, and left. */
const isUnfinished = ({ framing, mangled, method }: FuzzRequest): boolean =>
  framing === 'cut' ||
  method === 'CONNECT' ||
  mangled.some(what => ['header content-length', 'header transfer-encoding', 'header trailer'].includes(what))

const describe = ({ operation, open, caller, method, target, headers, body, mangled }: FuzzRequest): string =>
  JSON.stringify({ id: operation.id, open, caller, method, target, headers, body, mangled }).slice(0, 3_000)

/** Webhooks and deliveries that exist, in the place of jobs. */
const aimAtWebhook = (request: FuzzRequest, webhooks: Fuzzed['webhooks']): FuzzRequest => {
  const aimed = /\/webhooks\/0000fade[\d-]+/.exec(request.target)
  if (!aimed) return request
  const { id, deliveryId } = webhooks[Number(aimed[0].slice(-5)) % webhooks.length]!
  const target = request.target
    .replace(/\/webhooks\/0000fade[\d-]+/, `/webhooks/${id}`)
    .replace(/\/deliveries\/0000fade[\d-]+/, `/deliveries/${deliveryId}`)
  return { ...request, target }
}

/** Badges that exist, in the place of jobs, and for half of the tokens. */
const aimAtBadge = (request: FuzzRequest, badges: Fuzzed['badges']): FuzzRequest => {
  const { operation, target, mangled } = request
  const { id, token } = badges[target.length % badges.length]!
  const isToken = operation.id === 'showBadge' && !mangled.includes('path') && target.length % 2 === 0
  return {
    ...request,
    target: isToken ? `/badges/${token}.svg` : target.replace(/\/badges\/0000fade[\d-]+/, `/badges/${id}`),
  }
}

const makeSender = (contract: Contract, fuzzed: Fuzzed[], tokens: Record<Caller, string | null>) => {
  const seen = new Map<string, number>()
  const faults = new Map<string, string>()
  const send = async (request: FuzzRequest, index: number): Promise<void> => {
    const { clients, jobIds, webhooks, badges, port } = fuzzed[request.open ? 1 : 0]!
    const token = request.open ? null : tokens[request.caller]
    const bytes = toBytes(aimAtBadge(aimAtWebhook(request, webhooks), badges), token, n => jobIds[n % jobIds.length]!)
    if (isUnfinished(request)) return clients[index]!.leave(bytes)
    const strange = request.mangled.some(what => /^(?:path|method|version|large|header)/.test(what))
    const client = strange ? new Client(port) : clients[index]!
    const answer = await client.send(bytes, { method: request.method, fresh: strange }).catch(String)
    const fault = typeof answer === 'string' ? answer : faultOf(contract, request, answer)
    // One of each: a fault that is everywhere would hide the others.
    if (fault !== null) faults.set(`${request.operation.id} ${fault.slice(0, 60)}`, `${fault}: ${describe(request)}`)
    if (fault !== null || typeof answer === 'string') return
    const kind = `${request.operation.id} ${answer.status}`
    seen.set(kind, (seen.get(kind) ?? 0) + 1)
    if (answer.status !== 201 || request.operation.id !== 'createJob') return
    const { id, partitions = [] } = parse(answer.body.toString()) as { id: string; partitions?: { id: string }[] }
    jobIds.push(id, ...partitions.slice(0, 3).map(partition => partition.id))
  }
  return { seen, faults, send }
}

const startBoth = async (t: Test, lines: { level: number }[]) => {
  const log = pino(
    { level: 'trace' },
    { write: (line: string) => void lines.push(JSON.parse(line) as { level: number }) },
  )
  const off = {
    RATE_LIMIT_PER_SECOND: '0',
    RATE_LIMIT_UNAUTHENTICATED_PER_SECOND: '0',
    WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1',
  }
  const guarded = await startService(t, { log, AUTH_JWT_SECRET: SECRET, ...off })
  const unguarded = await startService(t, { log, database: guarded.database, ...off })
  const tenantId = randomUUID()
  const first = await open(guarded.as(await mint({ tenant_id: tenantId, sub: 'all' })))
  const tokens = await tokensOf(first.jobIds[1]!, tenantId)
  return { fuzzed: [first, await open(unguarded)], tokens }
}

t.test(
  `whatever is sent, ${REQUESTS} times, is answered as the OpenAPI document says, and never with a server error`,
  async t => {
    const lines: { level: number }[] = []
    const { fuzzed, tokens } = await startBoth(t, lines)
    const document = (await (await fetch(`${fuzzed[0]!.service.url}/openapi.json`)).json()) as OpenApi
    const contract = readContract(document)
    const { seen, faults, send } = makeSender(contract, fuzzed, tokens)
    const rejections: unknown[] = []
    const onRejection = (reason: unknown) => void rejections.push(reason)
    process.on('unhandledRejection', onRejection)
    t.teardown(() => process.off('unhandledRejection', onRejection))

    const some = fc.array(anyRequest(contract), { minLength: AT_ONCE, maxLength: AT_ONCE })
    for (let sent = 0; sent < REQUESTS; sent += AT_ONCE * ROUND) {
      for (const requests of fc.sample(some, { numRuns: ROUND, seed: SEED + sent })) {
        await Promise.all(requests.map(send))
      }
    }
    t.same([...faults.values()], [], `FUZZ_SEED=${SEED} sends the same requests again`)

    for (const { service, clients } of fuzzed) {
      for (const client of clients) client.close()
      t.equal((await fetch(`${service.url}/healthz`)).status, 200, 'the service is well')
    }
    t.same(rejections, [])
    t.same(
      lines.filter(({ level }) => level >= ERROR_LEVEL),
      [],
      'nothing was logged as an error',
    )
    for (const { id } of contract.operations) {
      const statuses = [...seen.keys()].filter(kind => kind.startsWith(`${id} `)).map(kind => kind.slice(id.length + 1))
      t.ok(
        statuses.some(status => status.startsWith('2')),
        `${id} was reached: ${statuses.sort().join(' ')}`,
      )
    }
  },
)
