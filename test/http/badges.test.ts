import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { BadgeWithToken } from '../../src/contract/badge.ts'
import { badgeSvg } from '../../src/http/badge-svg.ts'
import { createBadges } from '../../src/jobs/badges/badges.ts'
import type { BadgeRepository } from '../../src/jobs/badges/repository.ts'
import { startService, type Service } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'

const SETTINGS = { AUTH_JWT_SECRET: SECRET }
const service = await startService(t, SETTINGS)

interface Picture {
  status: number
  headers: Headers
  svg: string
}

const get = async (url: string, headers: Record<string, string> = {}): Promise<Picture> => {
  const response = await fetch(url, { headers })
  return { status: response.status, headers: response.headers, svg: await response.text() }
}

const badgeOf = (caller: Service, jobId: string, query = '', headers: Record<string, string> = {}): Promise<Picture> =>
  get(`${service.url}/api/progress/jobs/${jobId}/badge.svg${query}`, { ...caller.headers, ...headers })

const show = (token: string, query = ''): Promise<Picture> => get(`${service.url}/badges/${token}.svg${query}`)

const titleOf = ({ svg }: Picture): string | undefined => /<title>(.*)<\/title>/.exec(svg)?.[1]

const makeBadge = async (caller: Service, fields: object): Promise<BadgeWithToken> => {
  const { status, body } = await caller.call<BadgeWithToken>('POST', '/badges', fields)
  if (status !== 201) throw new Error(JSON.stringify(body))
  return body
}

t.test('the badge of a job shows its percent while it runs, and then its outcome', async t => {
  const caller = service.as(await mint())
  const job = await caller.createJob({ totalCount: 200 })
  t.equal(titleOf(await badgeOf(caller, job.id)), 'progress: pending')
  await caller.heartbeat(job.id, { processedCount: 84 })
  t.equal(titleOf(await badgeOf(caller, job.id)), 'progress: 42%')
  await caller.call('POST', `/jobs/${job.id}/fail`, { errorMessage: 'secret' })
  const failed = await badgeOf(caller, job.id)
  t.equal(titleOf(failed), 'progress: failed')
  t.notMatch(failed.svg, /secret|a job/, 'nothing else of the job')
  const endless = await caller.createJob()
  await caller.heartbeat(endless.id, { processedCount: 7 })
  t.equal(titleOf(await badgeOf(caller, endless.id)), 'progress: running', 'without a total there is no percent')
})

t.test('a badge may be cached for a short time, runs nothing, and is 304 while it is the same', async t => {
  const caller = service.as(await mint())
  const job = await caller.createJob({ totalCount: 10, jobType: 'cached' })
  const { token } = await makeBadge(caller, { jobType: 'cached' })
  const own = await badgeOf(caller, job.id)
  const shared = await show(token)
  t.equal(own.headers.get('cache-control'), 'private, max-age=15')
  t.equal(shared.headers.get('cache-control'), 'public, max-age=15')
  for (const { status, headers } of [own, shared]) {
    t.equal(status, 200)
    t.equal(headers.get('content-type'), 'image/svg+xml; charset=utf-8')
    t.match(headers.get('content-security-policy'), /^default-src 'none'; style-src 'none'; sandbox$/)
    t.equal(headers.get('x-content-type-options'), 'nosniff')
    t.equal(headers.get('cross-origin-resource-policy'), 'cross-origin', 'pages of other sites may show it')
  }
  const etag = own.headers.get('etag') ?? ''
  const same = await badgeOf(caller, job.id, '', { 'if-none-match': etag })
  t.match(same, { status: 304, svg: '' })
  t.equal(same.headers.get('cache-control'), 'private, max-age=15', 'a cache may go on showing what it has')
  await caller.heartbeat(job.id, { processedCount: 5 })
  t.equal((await badgeOf(caller, job.id, '', { 'if-none-match': etag })).status, 200)
  const head = await fetch(`${service.url}/badges/${token}.svg`, { method: 'HEAD' })
  t.match([head.status, await head.text()], [200, ''])
})

t.test('a missing job has a grey badge for whoever embeds it, and the status 404', async t => {
  const caller = service.as(await mint())
  const other = await service.as(await mint()).createJob()
  for (const id of [randomUUID(), other.id]) {
    const { status, svg, headers } = await badgeOf(caller, id)
    t.equal(status, 404)
    t.match(svg, /<title>progress: no job<\/title>/)
    t.notMatch(svg, /#3a50d9|#15794a|#c1262d/)
    t.equal(headers.get('etag'), null)
  }
  t.equal((await badgeOf(caller, 'no-id')).status, 400)
  t.equal((await badgeOf(service, other.id)).status, 401)
})

t.test('a badge of a type shows the job of the type that was created last, without a token of its reader', async t => {
  const [tenant_id, organization_id] = [randomUUID(), randomUUID()]
  const manager = service.as(await mint({ tenant_id }))
  const member = service.as(await mint({ tenant_id, organization_id }))
  const jobType = 'nightly'
  const { token } = await makeBadge(manager, { jobType })
  const ofOrganization = await makeBadge(manager, { jobType, organizationId: organization_id })
  // Each is read once, because a process answers the next readers from memory for some seconds.
  const text = async (fields: object) => titleOf(await show((await makeBadge(manager, fields)).token))
  t.equal(titleOf(await show(token)), 'progress: no job')
  t.equal((await show(token)).status, 200, 'the badge is there, and its job will come')
  const first = await member.createJob({ jobType, totalCount: 100 })
  await member.heartbeat(first.id, { processedCount: 30 })
  await manager.createJob({ jobType: 'another' })
  await service.as(await mint()).createJob({ jobType })
  t.equal(await text({ jobType }), 'progress: 30%', 'neither of another type nor of another tenant')
  const second = await manager.createJob({ jobType, partitions: [{ name: 'a' }, { name: 'b' }] })
  t.equal(await text({ jobType }), 'progress: pending', 'a batch, and not its partitions')
  t.equal(titleOf(await show(ofOrganization.token)), 'progress: 30%', 'the last of the organization')
  for (const { id } of (await manager.call<{ items: { id: string }[] }>('GET', `/jobs?parentJobId=${second.id}`)).body
    .items)
    await manager.call('POST', `/jobs/${id}/complete`)
  t.equal(await text({ jobType }), 'progress: completed', 'also when an older one still runs')
})

t.test('the token of a badge is stored as a hash, shown once, and shows nothing once it is revoked', async t => {
  const manager = service.as(await mint())
  const reply = await manager.call<BadgeWithToken>('POST', '/badges', { jobType: 'revoked' })
  const { id, token } = reply.body
  t.equal(
    new URL(reply.headers.get('location')!, `${service.url}/api/progress/badges`).pathname,
    `/badges/${token}.svg`,
  )
  t.match(token, /^[\w-]{43}$/)
  const { rows } = await service.database.pool.query('SELECT * FROM public.badges WHERE id = $1', [id])
  t.notMatch(JSON.stringify(rows), token)
  const list = await manager.call<{ items: object[] }>('GET', '/badges')
  t.match(list.body.items, [{ id, jobType: 'revoked', organizationId: null }])
  t.notMatch(JSON.stringify(list.body), token)
  t.equal((await manager.call('DELETE', `/badges/${id}`)).status, 204)
  const gone = await show(token)
  t.match([gone.status, titleOf(gone)], [404, 'progress: no job'])
  t.equal((await show('guess')).status, 404)
  t.match(await manager.call('DELETE', `/badges/${id}`), { status: 404, body: { code: 'badge_not_found' } })
})

t.test('badges are made and revoked by those who manage the tenant, and by nobody else', async t => {
  const tenant_id = randomUUID()
  const manager = service.as(await mint({ tenant_id }))
  const badge = await makeBadge(manager, { jobType: 'guarded' })
  const viewer = service.as(await mint({ tenant_id, features: ['progress.view', 'progress.create'] }))
  const stranger = service.as(await mint())
  const limited = service.as(await mint({ tenant_id, job_id: randomUUID() }))
  for (const caller of [viewer, limited]) {
    t.equal((await caller.call('POST', '/badges', { jobType: 'x' })).status, 403)
    t.equal((await caller.call('GET', '/badges')).status, 403)
    t.equal((await caller.call('DELETE', `/badges/${badge.id}`)).status, 403)
  }
  t.match(await stranger.call('GET', '/badges'), { status: 200, body: { items: [] } })
  t.equal((await stranger.call('DELETE', `/badges/${badge.id}`)).status, 404)
  for (const body of [{}, { jobType: '' }, { jobType: 'a\nb' }, { jobType: 'a', color: 'red' }])
    t.equal((await manager.call('POST', '/badges', body)).status, 400, JSON.stringify(body))
  await service.database.pool.query(
    `INSERT INTO public.badges (tenant_id, job_type, token_hash) SELECT $1, 'many', 'hash ' || n FROM generate_series(1, 99) n`,
    [tenant_id],
  )
  t.match(await manager.call('POST', '/badges', { jobType: 'one more' }), {
    status: 422,
    body: { code: 'too_many_badges' },
  })
})

t.test('a label is text and nothing else, whatever it holds', async t => {
  const caller = service.as(await mint())
  const { id } = await caller.createJob()
  const labels = [
    '<script>alert(1)</script>',
    '"><image href="https://evil.example/x.png"/>',
    "' onload='alert(1)",
    '</title><style>*{fill:url(//evil.example)}</style>&amp;',
    '\uffff\ufffe',
    '👩‍👩‍👧‍👦 é مرحبا 漢字',
    'w'.repeat(60),
  ]
  for (const label of labels) {
    const { status, svg } = await badgeOf(caller, id, `?label=${encodeURIComponent(label)}`)
    t.equal(status, 200, label)
    const tags = [...svg.matchAll(/<\/?([a-z]+)/gi)].map(([, tag]) => tag)
    t.same([...new Set(tags)].sort(), ['clipPath', 'g', 'rect', 'svg', 'text', 'title'], label)
    const attributes = [...svg.matchAll(/ ([\w-]+)=["']/g)].map(([, name]) => name ?? '')
    t.notOk(
      attributes.some(name => /^on|href|style|src/.test(name)),
      label,
    )
    t.notMatch(svg, /\ufffe|\uffff|&(?!(?:amp|lt|gt|quot|#39);)/, label)
  }
  for (const label of ['', ' ', 'a\u202eb', 'a\u0007b', 'w'.repeat(61)])
    t.equal((await badgeOf(caller, id, `?label=${encodeURIComponent(label)}`)).status, 400, JSON.stringify(label))
  t.equal((await badgeOf(caller, id, '?colour=red')).status, 400)
  const wide = /width="([\d.]+)"/.exec(badgeSvg(null, '漢字'))?.[1]
  t.equal(wide, /width="([\d.]+)"/.exec(badgeSvg(null, 'abcd'))?.[1], 'a Chinese character has the room of two letters')
})

t.test('a page with many readers reads the database once in five seconds, and a failed read is made again', async t => {
  let [reads, nowMs, fails] = [0, 0, false]
  const repository = {
    findByToken: async () => {
      reads += 1
      if (fails) throw new Error('no database')
      return { tenantId: randomUUID(), organizationId: null, jobType: 'a' }
    },
    newestOfType: async () => null,
  } as unknown as BadgeRepository
  const badges = createBadges({ repository, inTurn: (_party, _width, useCase) => useCase(), now: () => nowMs })
  const token = 'x'.repeat(43)
  await Promise.all([1, 2, 3].map(() => badges.newest(token)))
  t.equal(reads, 1)
  nowMs = 4_999
  await badges.newest(token)
  t.equal(reads, 1)
  nowMs = 5_000
  fails = true
  await t.rejects(badges.newest(token))
  fails = false
  await badges.newest(token)
  t.equal(reads, 3)
  await t.rejects(badges.newest('no token'), { code: 'badge_not_found' })
  t.equal(reads, 3, 'what cannot be a token is not looked up')
})

t.test('who tries many tokens is refused, and readers of good ones are not counted', async t => {
  const limited = await startService(t, { ...SETTINGS, RATE_LIMIT_UNAUTHENTICATED_PER_SECOND: '1' })
  const { token } = await makeBadge(limited.as(await mint()), { jobType: 'read often' })
  const status = async (name: string) => (await fetch(`${limited.url}/badges/${name}.svg`)).status
  for (let reader = 0; reader < 20; reader += 1) t.equal(await status(token), 200)
  const guesses = await Promise.all(Array.from({ length: 20 }, (_, n) => status(`guess${n}`)))
  t.ok(guesses.includes(404))
  t.ok(guesses.includes(429))
})
