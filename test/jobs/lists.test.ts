import { FUNCTIONS } from '../../src/database/functions.ts'
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openDatabase, type Database } from '../../src/database/connection.ts'
import { drizzle } from '../../src/database/drizzle.ts'
import type { JobPage, ListedJob } from '../../src/contract/job.ts'
import { OPEN_IDENTITY, scopeOf } from '../../src/jobs/identity.ts'
import { createJobLists } from '../../src/jobs/job-lists.ts'
import { createRetention, nextSize } from '../../src/jobs/retention.ts'
import { startService, type Service } from '../helpers/service.ts'

const { tenantId } = OPEN_IDENTITY

/** Rows as they may be found, without their history: `fields` are columns, of which several rows may be given. */
const insertJobs = async (
  service: Service,
  ...rows: (Record<string, unknown> & { status?: string })[]
): Promise<string[]> => {
  const ids: string[] = []
  for (const fields of rows) {
    const status = fields.status ?? 'pending'
    const isFinished = ['completed', 'failed', 'cancelled'].includes(status)
    const row: Record<string, unknown> = {
      tenant_id: tenantId,
      job_type: 'test',
      name: 'a job',
      heartbeat_timeout_seconds: 60,
      ...(status === 'running' && { liveness: 'ok', started_at: new Date(), heartbeat_at: new Date() }),
      ...(isFinished && { started_at: new Date(), finished_at: new Date() }),
      ...(status === 'failed' && { failure_reason: 'worker' }),
      ...fields,
    }
    const names = Object.keys(row)
    const { rows: inserted } = await service.database.pool.query<{ id: string }>(
      `INSERT INTO public.progress_jobs (${names.join(', ')}) VALUES (${names.map((_, n) => `$${n + 1}`).join(', ')}) RETURNING id`,
      Object.values(row),
    )
    ids.push(inserted[0]?.id ?? '')
  }
  return ids
}

const list = async (service: Service, query = ''): Promise<JobPage> =>
  (await service.call<JobPage>('GET', `/jobs?pageSize=100&${query}`)).body
const listIds = async (service: Service, query = ''): Promise<string[]> =>
  (await list(service, query)).items.map(job => job.id).sort()

const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1000)
const idsOf = (jobs: { id: string }[]) => jobs.map(job => job.id)

t.test('a list has only jobs that pass all of its filters', async t => {
  const service = await startService(t)
  const organizationId = randomUUID()
  const [pending, running, completed, failed, cancelled, old, other, owned] = (await insertJobs(
    service,
    { status: 'pending' },
    { status: 'running' },
    { status: 'completed', finished_at: secondsAgo(10), started_by_user_id: 'auth0|7' },
    { status: 'failed', finished_at: secondsAgo(10), started_by_user_id: 'auth0|8', error_message: 'Disk full: 100 %' },
    { status: 'cancelled', finished_at: secondsAgo(10) },
    { status: 'completed', finished_at: secondsAgo(1000) },
    { status: 'pending', job_type: 'import', started_by_user_id: 'auth0|7' },
    { status: 'pending', organization_id: organizationId },
  )) as [string, string, string, string, string, string, string, string]
  const [open, done] = (await insertJobs(
    service,
    { status: 'running', parent_job_id: running, partition_index: 0, partition_count: 2 },
    {
      status: 'completed',
      parent_job_id: running,
      partition_index: 1,
      partition_count: 2,
      finished_at: secondsAgo(10),
    },
  )) as [string, string]
  const active = [pending, running, other, owned, open]
  const finished = [completed, failed, cancelled, old, done]
  const since = encodeURIComponent(secondsAgo(100).toISOString())
  const long = encodeURIComponent(secondsAgo(10_000).toISOString())
  for (const [query, expected] of [
    ['', active],
    ['includeCompleted=false', active],
    ['includeCompleted=true', [...active, ...finished]],
    ['status=pending', [pending, other, owned]],
    ['status=running', [running, open]],
    ['status=failed', [failed]],
    ['status=failed&status=cancelled&status=running', [failed, cancelled, running, open]],
    ['status=completed&includeCompleted=false', [completed, old, done]],
    ['status=pending&includeCompleted=true', [pending, other, owned]],
    [`parentJobId=${running}`, [open, done]],
    [`parentJobId=${running}&includeCompleted=false`, [open, done]],
    [`parentJobId=${running}&status=running`, [open]],
    ['topLevel=true', [pending, running, other, owned]],
    ['topLevel=false', [open]],
    ['topLevel=false&includeCompleted=true', [open, done]],
    ['jobType=import', [other]],
    ['jobType=impor', []],
    [`organizationId=${organizationId}`, [owned]],
    [`organizationId=${randomUUID()}`, []],
    ['startedByUserId=auth0|7', [other]],
    ['startedByUserId=auth0%7C7&includeCompleted=true', [completed, other]],
    ['startedByUserId=auth0|7&status=completed&status=failed', [completed]],
    ['startedByUserId=auth0|&includeCompleted=true', []],
    [`completedSince=${since}`, [completed, failed, cancelled, done]],
    [`completedSince=${since}&includeCompleted=false`, [completed, failed, cancelled, done]],
    [`completedSince=${since}&status=completed`, [completed, done]],
    [`completedSince=${since}&status=pending`, []],
    [`completedBefore=${since}`, [old]],
    [`completedBefore=${since}&status=pending`, []],
    [`completedBefore=${since}&search=JOB`, [old]],
    [`completedSince=${long}&completedBefore=${since}&includeCompleted=false`, [old]],
    ['error=FULL&sort=-finishedAt', [failed]],
    ['error=full&sort=finishedAt&includeCompleted=false', [failed]],
    ['error=full&sort=-finishedAt&status=completed', []],
    ['error=full&sort=-finishedAt&search=other', []],
    ['error=full&sort=-finishedAt&startedByUserId=auth0|8', [failed]],
    [`error=full&sort=-finishedAt&completedBefore=${since}`, []],
    ['error=%25&sort=-finishedAt', [failed]],
    ['error=_&sort=-finishedAt', []],
  ] as const) {
    t.same(await listIds(service, query), [...expected].sort(), query)
    t.equal((await list(service, query)).total, expected.length, `${query}: total`)
  }
})

t.test('a search finds text in names as it was typed, in any case', async t => {
  const service = await startService(t)
  const names = ['100% done', '100 percent', 'a_b', 'axb', 'back\\slash', "it's", 'ÄRGER', 'plain']
  await insertJobs(service, ...names.map(name => ({ name })))
  const search = async (text: string) =>
    (await list(service, `search=${encodeURIComponent(text)}`)).items.map(job => job.name).sort()
  t.same(await search('100%'), ['100% done'])
  t.same(await search('%'), ['100% done'])
  t.same(await search('a_b'), ['a_b'])
  t.same(await search('_'), ['a_b'])
  t.same(await search('\\'), ['back\\slash'])
  t.same(await search('k\\s'), ['back\\slash'])
  t.same(await search('\\_'), [])
  t.same(await search("'"), ["it's"])
  t.same(await search('PLAIN'), ['plain'])
  t.same(await search('LAI'), ['plain'])
  t.same((await search('')).length, names.length)
})

/** Pieces of names in many scripts, with letters whose lower case is another length, and characters that patterns use. */
const PIECES = [
  ...[
    'Import',
    'import',
    'Export',
    'of',
    'ORDERS',
    'zeppelin',
    'a',
    'aa',
    'aaa',
    ' ',
    '  ',
    '-',
    '100 %',
    '_',
    '\\',
    "'",
    '"',
    '&',
    ':*',
    '!',
  ],
  ...['İstanbul', 'ISTANBUL', 'ıstanbul', 'Straße', 'STRASSE', 'ẞ', 'ΣΊΣΥΦΟΣ', 'σίσυφος', 'ΟΔΟΣ', 'ǆ', 'ǅ', 'ﬁle'],
  ...[
    'Cafe\u0301',
    'Café',
    'Привет',
    'ПРИВЕТ',
    'Ω',
    'ω',
    'ﷺ',
    'مرحبا',
    'שלום',
    '日本語',
    '日',
    '商品の取込',
    '한국어',
    '한국어',
    '👩‍🚀',
    '🚀',
    '𝔘𝔫𝔦',
    '\u0001',
    '\u0002',
  ],
]
const pieces = (most: number) =>
  fc.array(fc.constantFrom(...PIECES), { minLength: 1, maxLength: most }).map(parts => parts.join(''))

/**
 * More finished jobs than a search looks at in the order of the list, over more spans of time than the keys tell apart. Of some the
 * clock was set back before they finished.
 */
const fillNames = (service: Service, names: string[]) =>
  service.database.pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, created_at, started_at, finished_at,
       priority, failure_reason)
     SELECT $1, CASE WHEN n % 3 = 0 THEN 'import' ELSE 'test' END, name, 60, CASE WHEN n % 2 = 0 THEN 'completed' ELSE 'failed' END,
       ended - n % 7 * interval '1 day', ended - (n % 5 - n % 50 / 47 * 6) * interval '1 day', ended, n % 5, CASE WHEN n % 2 = 1 THEN 'worker' END
     FROM unnest($2::text[]) WITH ORDINALITY AS names (name, n),
       LATERAL (SELECT date_trunc('milliseconds', now() - n * interval '5 hours') AS ended) AS ends`,
    [tenantId, names],
  )

t.test('a search finds every name that holds the text, in any script and any case, and no other', async t => {
  const service = await startService(t)
  const { pool } = service.database
  const drawn = fc.sample(pieces(4), 2_600).map((name, n) => (n === 2_500 ? 'the needle' : name))
  await fillNames(service, drawn)
  await insertJobs(service, { name: 'an active job of 日本語' }, { name: 'the needle runs', status: 'running' })
  const columns = { finishedAt: 'finished_at', createdAt: 'created_at', startedAt: 'started_at', priority: 'priority' }
  const sorts = Object.entries(columns).flatMap(([key, column]) => [
    { sort: key, order: `${column} NULLS LAST, id` },
    { sort: `-${key}`, order: `${column} DESC NULLS LAST, id DESC` },
  ])
  const filters = [
    { query: 'includeCompleted=true', condition: 'true' },
    { query: 'status=failed', condition: "status = 'failed'" },
    {
      query: 'status=completed&status=failed&jobType=import',
      condition: "finished_at IS NOT NULL AND job_type = 'import'",
    },
  ]
  // A piece of a name that is there, in another case now and then, or what is probably nowhere.
  const text = fc.oneof(
    {
      weight: 3,
      arbitrary: fc
        .tuple(fc.constantFrom(...drawn), fc.nat(9), fc.integer({ min: 1, max: 9 }))
        .map(([name, from, length]) => {
          const letters = Array.from(name)
          return letters.slice(from % letters.length, (from % letters.length) + length).join('')
        }),
    },
    { weight: 1, arbitrary: pieces(3) },
    { weight: 1, arbitrary: fc.constantFrom('needle', 'NEEDLE R', 'qq', '文') },
  )
  await fc.assert(
    fc.asyncProperty(
      text,
      fc.constantFrom('same', 'upper', 'lower'),
      fc.constantFrom(...sorts),
      fc.constantFrom(...filters),
      fc.constantFrom(7, 100),
      async (piece, letters, { sort, order }, { query, condition }, pageSize) => {
        const sought = letters === 'upper' ? piece.toUpperCase() : letters === 'lower' ? piece.toLowerCase() : piece
        const { rows } = await pool.query<{ id: string }>(
          `SELECT id FROM public.progress_jobs WHERE ${condition} AND name ILIKE '%' || $1 || '%' ORDER BY ${order} LIMIT 250`,
          [sought.replace(/[\\%_]/g, '\\$&')],
        )
        const expected = idsOf(rows)
        const found: string[] = []
        for (let cursor = ''; found.length < 20;) {
          const page: JobPage = (
            await service.call<JobPage>(
              'GET',
              `/jobs?${query}&sort=${sort}&pageSize=${pageSize}&search=${encodeURIComponent(sought)}${cursor}`,
            )
          ).body
          found.push(...idsOf(page.items))
          if (page.next === null) {
            t.same(found, expected, sought)
            return
          }
          cursor = `&cursor=${page.next}`
        }
        t.same(found, expected.slice(0, found.length), sought)
      },
    ),
    { numRuns: 60 },
  )
})

t.test('a rare text is found by the index of names, and a common one in the order of the list', async t => {
  const service = await startService(t)
  const { pool } = service.database
  await fillNames(
    service,
    Array.from({ length: 4_000 }, (_, n) => `Import ${n % 97} of Acme${n === 3_900 ? ' zeppelin' : ''}`),
  )
  await pool.query('ANALYZE public.progress_jobs')
  const scansOf = async (search: string, expected: number) => {
    // A session of its own, which has counted nothing before.
    const client = new pg.Client(service.database.url)
    await client.connect()
    try {
      const lists = createJobLists({ drizzle: drizzle(client) } as unknown as Database)
      await client.query('BEGIN')
      const { items } = await lists.list(scopeOf(OPEN_IDENTITY), {
        sort: { key: 'finishedAt', descending: true },
        status: ['completed', 'failed'],
        page: 1,
        pageSize: 20,
        search,
      })
      t.equal(items.length, expected, search)
      const { rows } = await client.query<{ keys: string; rows: string }>(
        `SELECT pg_stat_get_xact_numscans('public.progress_jobs_list_name'::regclass) AS keys,
           pg_stat_get_xact_tuples_fetched('public.progress_jobs'::regclass) AS rows`,
      )
      return { keys: Number(rows[0]?.keys), rows: Number(rows[0]?.rows) }
    } finally {
      await client.end()
    }
  }
  const rare = await scansOf('zeppelin', 1)
  t.ok(rare.keys > 0, 'the index is asked')
  t.ok(rare.rows < 1_500, `beside the 1,000 jobs that are looked at first, hardly one of the ${rare.rows} is read`)
  t.equal((await scansOf('acme', 20)).keys, 0, 'the jobs that are looked at first fill the page')
})

t.test('every sort goes both ways, jobs without the value come last, and pages do not overlap', async t => {
  const service = await startService(t)
  // Half of the values are shared, so that something must settle ties.
  const rows = Array.from({ length: 24 }, (_, n) => ({
    created_at: secondsAgo(1000 - (n >> 1)),
    priority: (n >> 1) - 6,
    ...(n % 3 === 0
      ? { status: 'pending' }
      : n % 3 === 1
        ? { status: 'running', started_at: secondsAgo(500 - (n >> 1)) }
        : { status: 'completed', started_at: secondsAgo(500 - (n >> 1)), finished_at: secondsAgo(100 - (n >> 1)) }),
  }))
  await insertJobs(service, ...rows)
  for (const key of ['createdAt', 'startedAt', 'finishedAt', 'priority'] as const) {
    for (const descending of [false, true]) {
      const sort = `${descending ? '-' : ''}${key}`
      const items: ListedJob[] = []
      for (let page = 1; page <= 5; page += 1) {
        const query = `/jobs?includeCompleted=true&sort=${sort}&pageSize=5&page=${page}`
        const { body } = await service.call<JobPage>('GET', query)
        t.match(body, { page, pageSize: 5, total: 24 })
        items.push(...body.items)
      }
      t.equal(new Set(idsOf(items)).size, 24, `${sort}: every job once`)
      const values = items.map(job => job[key])
      const known = values.filter(value => value !== null)
      const inOrder = [...known].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
      t.same(known, descending ? inOrder.reverse() : inOrder, sort)
      t.same(values.slice(0, known.length), known, `${sort}: nulls last`)
    }
  }
})

t.test('by default a list has the newest jobs first, 20 a page', async t => {
  const service = await startService(t)
  const ids = await insertJobs(service, ...Array.from({ length: 25 }, (_, n) => ({ created_at: secondsAgo(1000 - n) })))
  const { body } = await service.call<JobPage>('GET', '/jobs')
  t.match(body, { page: 1, pageSize: 20, total: 25 })
  t.same(idsOf(body.items), ids.reverse().slice(0, 20))
  const beyond = { items: [], page: 3, pageSize: 20, total: 25, totalIsExact: true, next: null }
  t.same((await service.call<JobPage>('GET', '/jobs?page=3')).body, beyond)
})

/** All jobs of a list, page by page by cursor. `between` is called after each page. */
const follow = async (
  service: Service,
  query: string,
  between: (items: ListedJob[]) => Promise<unknown> = () => Promise.resolve(),
): Promise<ListedJob[]> => {
  const items: ListedJob[] = []
  for (let cursor = ''; ;) {
    const { body } = await service.call<JobPage>('GET', `/jobs?pageSize=5&${query}${cursor}`)
    items.push(...body.items)
    if (body.next === null) return items
    cursor = `&cursor=${body.next}`
    await between(body.items)
  }
}

/** Rows of every status, of which two each have the same values. Cancelled ones were never started. */
const everyStatus = (n: number) => {
  const pair = n >> 1
  const started = { started_at: secondsAgo(500 - pair) }
  const common = {
    created_at: secondsAgo(1000 - pair),
    priority: (pair % 4) - 2,
    job_type: pair % 3 === 0 ? 'import' : 'test',
  }
  const finished = { finished_at: secondsAgo(100 - pair) }
  const states = [
    { status: 'pending' },
    { status: 'running', ...started },
    { status: 'completed', ...started, ...finished },
    { status: 'failed', ...started, ...finished },
    { status: 'cancelled', started_at: null, ...finished },
  ]
  return { ...common, ...states[pair % states.length] }
}

t.test('pages by cursor together are the list, in every order and with every filter of status', async t => {
  const service = await startService(t)
  const rows = Array.from({ length: 40 }, (_, n) => everyStatus(n))
  const [batch] = await insertJobs(service, ...rows)
  await insertJobs(
    service,
    ...Array.from({ length: 8 }, (_, n) => ({
      ...everyStatus(n + 4),
      parent_job_id: batch,
      partition_index: n,
      partition_count: 8,
    })),
  )
  const filters = [
    'includeCompleted=true',
    'includeCompleted=false',
    'includeCompleted=true&topLevel=true',
    'status=completed&status=failed&status=cancelled',
    'status=failed&status=cancelled',
    'status=completed&status=failed&topLevel=true',
    'status=running&status=failed',
    'status=cancelled&jobType=import',
    `parentJobId=${batch}`,
  ]
  for (const key of ['createdAt', 'startedAt', 'finishedAt', 'priority', 'partitionIndex']) {
    for (const sort of [key, `-${key}`]) {
      for (const filter of filters) {
        const query = `${filter}&sort=${sort}`
        const whole = await list(service, query)
        t.equal(whole.next, null, query)
        t.equal(whole.items.length, whole.total, query)
        t.same(idsOf(await follow(service, query)), idsOf(whole.items), query)
      }
    }
  }
})

t.test(
  'a job that was there from the first page to the last is shown once, whatever comes and goes meanwhile',
  async t => {
    const service = await startService(t)
    const ids = await insertJobs(
      service,
      ...Array.from({ length: 23 }, (_, n) => ({ created_at: secondsAgo(1000 - n) })),
    )
    const gone = new Set<string>()
    const shown = await follow(service, 'sort=-createdAt', async items => {
      await insertJobs(service, { created_at: new Date() }, { created_at: secondsAgo(2000) })
      // The page's last job is where the cursor is.
      const last = items.at(-1)?.id ?? ''
      gone.add(last)
      await service.database.pool.query('DELETE FROM public.progress_jobs WHERE id = $1', [last])
    })
    const old = shown.filter(job => ids.includes(job.id))
    t.same(idsOf(old), [...ids].reverse(), 'in order, each once')
    t.ok(gone.size >= 4)
  },
)

t.test('a list tells its next page by `next` and by a Link header, and counts only the first', async t => {
  const service = await startService(t)
  await insertJobs(service, ...Array.from({ length: 7 }, (_, n) => ({ created_at: secondsAgo(n), name: 'a & b' })))
  const query = 'pageSize=3&search=a%20%26&status=pending&status=running'
  const first = await service.call<JobPage>('GET', `/jobs?page=1&${query}`)
  t.match(first.body, { page: 1, total: 7, next: String })
  const link = /^<(\?[^>]*)>; rel="next"$/.exec(first.headers.get('link') ?? '')?.[1] ?? ''
  const second = await service.call<JobPage>('GET', `/jobs${link}`)
  t.match(second.body, { page: null, pageSize: 3, total: null, next: String })
  t.same(
    second,
    await service.call('GET', `/jobs?${query}&cursor=${first.body.next}`).then(({ body }) => ({ ...second, body })),
  )
  const third = await service.call<JobPage>('GET', `/jobs?${query}&cursor=${second.body.next}`)
  t.match(third.body, { items: { length: 1 }, next: null })
  t.equal(third.headers.get('link'), null)
  t.equal(new Set(idsOf([first, second, third].flatMap(({ body }) => body.items))).size, 7)
})

t.test('a cursor of another sort, and what is no cursor, are refused with the reason', async t => {
  const service = await startService(t)
  await insertJobs(service, {}, {})
  const { next } = (await service.call<JobPage>('GET', '/jobs?pageSize=1&sort=-createdAt')).body
  const coded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const id = randomUUID()
  for (const [sort, cursor] of [
    ['createdAt', next],
    ['-priority', next],
    ['-createdAt', 'x'],
    ['-createdAt', coded(null)],
    ['-createdAt', coded([2, '-createdAt', '2026-01-01T00:00:00.000Z', id])],
    ['-createdAt', coded([1, '-createdAt', null, id])],
    ['-createdAt', coded([1, '-createdAt', "2026-01-01'", id])],
    ['-createdAt', coded([1, '-createdAt', '2026-13-01T00:00:00.000Z', id])],
    ['-createdAt', coded([1, '-createdAt', '2026-01-01T00:00:00.000Z', 'x'])],
    ['priority', coded([1, 'priority', 1.5, id])],
    ['priority', coded([1, 'priority', 2 ** 31, id])],
    ['priority', coded([1, 'priority', '1', id])],
  ] as const) {
    const { status, body } = await service.call<Record<string, unknown>>('GET', `/jobs?sort=${sort}&cursor=${cursor}`)
    t.match(
      { status, body },
      { status: 400, body: { code: 'validation_failed', errors: [{ path: 'cursor' }] } },
      cursor ?? '',
    )
  }
  const of = await service.call<{ detail: string }>('GET', `/jobs?sort=priority&cursor=${next}`)
  t.match(of.body.detail, /another sort than priority/)
})

t.test('the total stops counting when 10,000 jobs were looked at, and says so', async t => {
  const service = await startService(t)
  const insert = (count: number) =>
    service.database.pool.query(
      `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds)
       SELECT $1, 'test', 'job ' || n, 60 FROM generate_series(1, $2::integer) n`,
      [tenantId, count],
    )
  await insert(9_999)
  t.match(await list(service), { total: 9_999, totalIsExact: true })
  await insert(51)
  t.match(await list(service), { total: 10_000, totalIsExact: false })
  // The last one is among the newest, which a count need not come to.
  await insertJobs(service, { name: 'the needle', created_at: secondsAgo(1) })
  t.match(
    await list(service, 'search=needle'),
    { items: { length: 1 }, total: 1, totalIsExact: true },
    'few among many',
  )
  t.match(await list(service, 'jobType=none'), { total: 0, totalIsExact: true }, 'an index has all of them')
  const { body } = await service.call<JobPage>('GET', '/jobs?page=101&pageSize=100')
  t.equal(body.items.length, 51, 'the pages beyond it can still be read')
})

interface Active {
  active: ListedJob[]
  recentlyCompleted: ListedJob[]
}

t.test(
  'a search of errors looks at 5,000 failed jobs a page, and its cursor goes on after the last of them',
  async t => {
    const service = await startService(t)
    await service.database.pool.query(
      `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at, failure_reason, error_message)
       SELECT $1, 'test', n::text, 60, 'failed', now(), date_trunc('milliseconds', now() - n * interval '1 second'), 'worker',
         CASE WHEN n IN (10, 5000, 5001, 10500) THEN 'needle ' || n ELSE 'hay' END
       FROM generate_series(1, 10600) AS n`,
      [tenantId],
    )
    const pages: [names: string, total: number | null, isExact: boolean][] = []
    let next: string | null = ''
    while (next !== null && pages.length < 9) {
      const page = await list(service, `error=needle&sort=-finishedAt${next === '' ? '' : `&cursor=${next}`}`)
      pages.push([page.items.map(({ name }) => name).join(), page.total, page.totalIsExact])
      next = page.next
    }
    t.same(pages, [
      ['10,5000', 2, false],
      ['5001', null, false],
      ['10500', null, false],
    ])
    const full = await list(service, 'error=hay&sort=-finishedAt')
    t.match([full.items.length, full.total, full.totalIsExact], [100, 4_998, false])
    const second = await list(service, `error=hay&sort=-finishedAt&cursor=${full.next}`)
    t.equal(second.items[0]?.name, '102', 'a page that is full goes on after its last job')
    const first = await list(service, 'error=needle&sort=finishedAt')
    t.equal(
      first.items.map(({ name }) => name).join(),
      '10500',
      'in the other direction the oldest are looked at first',
    )
    const refused = await service.call<{ code: string }>('GET', '/jobs?error=needle')
    t.match([refused.status, refused.body.code], [400, 'validation_failed'], 'no index has them in another order')
  },
)

t.test('a list makes documents only of the jobs of its page', async t => {
  const service = await startService(t)
  const ids = await insertJobs(service, ...Array.from({ length: 30 }, (_, n) => ({ created_at: secondsAgo(n) })))
  await service.database.pool.query(`
    CREATE SEQUENCE made;
    ALTER FUNCTION ${FUNCTIONS}.listed_job_document(public.progress_jobs) RENAME TO uncounted_document;
    CREATE FUNCTION ${FUNCTIONS}.listed_job_document(j public.progress_jobs) RETURNS json LANGUAGE plpgsql STABLE AS $$ BEGIN
      PERFORM nextval('public.made');
      RETURN ${FUNCTIONS}.uncounted_document(j);
    END $$`)
  const countMade = async () => {
    const { rows } = await service.database.pool.query<{ made: string }>("SELECT nextval('made') AS made")
    return Number(rows[0]?.made)
  }
  for (const [page, sort] of [
    [6, 'createdAt'],
    [6, '-createdAt'],
    [6, '-priority'],
    [6, 'startedAt'],
    [7, 'createdAt'],
  ]) {
    const before = await countMade()
    const { body } = await service.call<JobPage>('GET', `/jobs?pageSize=5&page=${page}&sort=${sort}`)
    const after = await countMade()
    t.equal(body.total, 30)
    t.equal(after - before - 1, body.items.length, `page ${page} by ${sort}`)
    if (sort === '-createdAt') t.same(idsOf(body.items), ids.slice(25))
  }
})

t.test('active and recently finished jobs are listed without partitions', async t => {
  const service = await startService(t)
  const [pending, running, recent, older, old] = (await insertJobs(
    service,
    { created_at: secondsAgo(200) },
    { status: 'running', created_at: secondsAgo(100) },
    { status: 'failed', finished_at: secondsAgo(5) },
    { status: 'cancelled', finished_at: secondsAgo(25) },
    { status: 'completed', finished_at: secondsAgo(35) },
  )) as [string, string, string, string, string]
  await insertJobs(
    service,
    { status: 'running', parent_job_id: running, partition_index: 0, partition_count: 2 },
    { status: 'completed', parent_job_id: running, partition_index: 1, partition_count: 2 },
  )
  const read = async (query: string) => {
    const { body } = await service.call<Active>('GET', `/active${query}`)
    return { active: idsOf(body.active), recentlyCompleted: idsOf(body.recentlyCompleted) }
  }
  t.same(await read(''), { active: [running, pending], recentlyCompleted: [recent, older] }, 'newest first')
  t.same((await read('?recentSeconds=60')).recentlyCompleted, [recent, older, old])
  t.same((await read('?recentSeconds=10')).recentlyCompleted, [recent])
  t.same((await read('?recentSeconds=0')).recentlyCompleted, [])
})

t.test('at most 50 active jobs and 10 finished ones are shown, the newest', async t => {
  const service = await startService(t)
  const active = await insertJobs(
    service,
    ...Array.from({ length: 55 }, (_, n) => ({ created_at: secondsAgo(1000 - n) })),
  )
  const finished = await insertJobs(
    service,
    ...Array.from({ length: 15 }, (_, n) => ({ status: 'completed', finished_at: secondsAgo(20 - n) })),
  )
  const { body } = await service.call<Active>('GET', '/active')
  t.same(idsOf(body.active), active.reverse().slice(0, 50))
  t.same(idsOf(body.recentlyCompleted), finished.reverse().slice(0, 10))
})

t.test('/active is answered 304 to a caller that has these revisions of the jobs', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  const read = (etag = '') => service.call<Active>('GET', '/active', undefined, { 'if-none-match': etag })
  const tagOf = async () => (await read()).headers.get('etag') ?? ''
  const none = await startService(t).then(other => other.call('GET', '/active'))
  const created = await tagOf()
  t.match(created, /^W\/"[\w-]+"$/)
  t.not(none.headers.get('etag'), created)
  const again = await read(`"other", ${created}`)
  t.equal(again.status, 304)
  t.equal(again.headers.get('etag'), created)
  await service.heartbeat(id)
  t.equal((await read(created)).status, 200, 'it was started')
  const started = await tagOf()
  await service.heartbeat(id)
  t.equal((await read(started)).status, 304, 'a bare heartbeat changes nothing')
  await service.call('POST', `/jobs/${id}/complete`)
  t.equal((await read(started)).status, 200)
  const finished = await tagOf()
  await service.age(id, 40)
  t.equal((await read(finished)).status, 200, 'it is no longer among what has just finished')
})

const eraser = (t: Test, service: Service, retentionDays: number) => {
  const database = openDatabase({
    url: service.database.url,
    poolSize: 2,
    preparedStatements: true,
    onConnectionError: () => undefined,
  })
  t.teardown(() => database.close())
  return createRetention({ database, retentionDays, log: pino({ level: 'silent' }) })
}

const DAY = 86_400

t.test('the history of a type is kept longer than its jobs, and erased 400 days after the last of them', async t => {
  const service = await startService(t)
  const { pool } = service.database
  await pool.query(
    `INSERT INTO type_histories (tenant_id, job_type, is_partition, newest_at)
     SELECT $1, days::text, false, now() - make_interval(days => days) FROM unnest(ARRAY[1, 399, 401]) AS days`,
    [tenantId],
  )
  await eraser(t, service, 0)()
  const types = async () =>
    (await pool.query<{ job_type: string }>('SELECT job_type FROM type_histories ORDER BY newest_at')).rows.map(
      ({ job_type }) => job_type,
    )
  t.same(await types(), ['401', '399', '1'], '0 keeps everything')
  await eraser(t, service, 7)()
  t.same(await types(), ['399', '1'])
})

t.test(
  'jobs that finished longer ago than the retention are erased with their workers, history and partitions',
  async t => {
    const service = await startService(t)
    const make = async (status: 'completed' | 'failed' | 'running' | 'pending', days: number) => {
      const { id } = await service.createJob()
      if (status !== 'pending') await service.heartbeat(id, { workerId: 'a', processedCount: 1 })
      if (status === 'completed') await service.call('POST', `/jobs/${id}/complete`)
      if (status === 'failed') await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'x' })
      await service.age(id, days * DAY)
      return id
    }
    const erased = [await make('completed', 7.01), await make('failed', 100), await make('pending', 7.01)]
    const kept = [
      await make('completed', 6.99),
      await make('pending', 6.99),
      await make('running', 100),
      await make('pending', 0),
    ]
    t.equal(await eraser(t, service, 7)(), 3)
    for (const id of erased) t.equal((await service.call('GET', `/jobs/${id}`)).status, 404)
    for (const id of kept) t.equal((await service.call('GET', `/jobs/${id}`)).status, 200)
    const { rows } = await service.database.pool.query(
      `SELECT (SELECT count(*)::integer FROM public.job_progress WHERE job_id = ANY ($1)) AS workers,
       (SELECT count(*)::integer FROM public.job_events WHERE job_id = ANY ($1)) AS events`,
      [erased],
    )
    t.same(rows, [{ workers: 0, events: 0 }])
    t.equal(await eraser(t, service, 7)(), 0)
  },
)

t.test('the retention does not wait for locked rows of an expired job, and erases it later', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  await service.heartbeat(id, { workerId: 'a' })
  await service.call('POST', `/jobs/${id}/complete`)
  await service.age(id, 8 * DAY)
  const holder = await service.database.pool.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query('SELECT FROM public.job_progress WHERE job_id = $1 FOR UPDATE', [id])
  t.equal(await eraser(t, service, 7)(), 0, 'a statement that waited would be ended by its timeout')
  await holder.query('ROLLBACK')
  t.equal(await eraser(t, service, 7)(), 1)
})

t.test('RETENTION_DAYS=0 keeps everything', async t => {
  const service = await startService(t)
  const [id] = await insertJobs(service, { status: 'completed', finished_at: secondsAgo(40_000 * DAY) })
  t.equal(await eraser(t, service, 0)(), 0)
  t.same(await listIds(service, 'includeCompleted=true'), [id])
})

t.test('partitions are erased with their batch, and not before it', async t => {
  const service = await startService(t)
  const [old, fresh] = (await insertJobs(
    service,
    { status: 'completed', finished_at: secondsAgo(31 * DAY), children: {}, partition_count: 2 },
    { status: 'running', children: {}, partition_count: 2 },
  )) as [string, string]
  const partitions = await insertJobs(
    service,
    {
      status: 'completed',
      finished_at: secondsAgo(31 * DAY),
      parent_job_id: old,
      partition_index: 0,
      partition_count: 2,
    },
    {
      status: 'completed',
      finished_at: secondsAgo(31 * DAY),
      parent_job_id: fresh,
      partition_index: 0,
      partition_count: 2,
    },
  )
  t.equal(await eraser(t, service, 30)(), 1)
  t.same(await listIds(service, 'includeCompleted=true'), [fresh, partitions[1] ?? ''].sort())
})

t.test('two processes at once erase several batches of expired jobs, and skip locked ones', async t => {
  const service = await startService(t)
  const { pool } = service.database
  await pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at)
     SELECT $1, 'test', 'job ' || n, 60, 'completed', now() - interval '40 days', now() - interval '31 days'
     FROM generate_series(1, 1201) n`,
    [tenantId],
  )
  const holder = await pool.connect()
  try {
    await holder.query('BEGIN')
    const { rows } = await holder.query<{ id: string }>('SELECT id FROM public.progress_jobs LIMIT 1 FOR UPDATE')
    await Promise.all([eraser(t, service, 30)(), eraser(t, service, 30)()])
    // Of two runs at once, one may stop early at rows that the other has locked.
    await eraser(t, service, 30)()
    t.same(await listIds(service, 'includeCompleted=true'), idsOf(rows))
    await holder.query('COMMIT')
  } finally {
    holder.release()
  }
  t.equal(await eraser(t, service, 30)(), 1)
})

t.test('retention erases first what finished first, and counts the partitions of a batch', async t => {
  const service = await startService(t)
  const { pool } = service.database
  const batches = await insertJobs(
    service,
    ...[33, 32, 35, 34].map(days => ({
      status: 'completed',
      finished_at: secondsAgo(days * DAY),
      children: {},
      partition_count: 30,
    })),
  )
  await pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at,
       parent_job_id, partition_index, partition_count)
     SELECT tenant_id, 'test', 'part ' || n, 60, 'completed', started_at, finished_at, id, n, 30
     FROM public.progress_jobs, generate_series(0, 29) AS n`,
  )
  const [pending] = await insertJobs(service, { status: 'pending', updated_at: secondsAgo(31 * DAY) })
  let since: Date | null = null
  const erase = async (batch: number) => {
    const { rows } = await pool.query<{ erased: string; reached: Date | null }>(
      `SELECT erased, reached FROM ${FUNCTIONS}.erase_expired(30, $1, $2)`,
      [batch, since],
    )
    since = rows[0]?.reached ?? null
    return Number(rows[0]?.erased)
  }
  const left = async () => {
    const { rows } = await pool.query<{ id: string; rows: string }>(
      'SELECT coalesce(parent_job_id, id) AS id, count(*) AS rows FROM public.progress_jobs GROUP BY 1',
    )
    return Object.fromEntries(rows.map(row => [row.id, Number(row.rows)]))
  }
  const [third, fourth, , second] = batches as [string, string, string, string]
  t.equal(await erase(1), 1, 'one job at least, however many partitions it has')
  t.same(await left(), { [second]: 31, [third]: 31, [fourth]: 31, [pending ?? '']: 1 })
  t.equal(await erase(40), 2, 'the second one begins before 40 rows are together')
  t.same(await left(), { [fourth]: 31, [pending ?? '']: 1 })
  t.equal(await erase(40), 1)
  t.equal(await erase(40), 1, 'pending jobs at the end')
  t.equal(await erase(40), 0)
  t.same(await left(), {})
})

t.test('retention erases fewer jobs at once when a statement takes long, and carefully more when it does not', t => {
  t.equal(nextSize(100, 40), 100)
  t.equal(nextSize(100, 80), 50)
  t.equal(nextSize(100, 4_000), 50, 'never so few that it does not come to an end')
  t.equal(nextSize(100, 1), 200, 'at most twice as many')
  t.equal(nextSize(900, 1), 1_000, 'never so many that one statement holds up others')
  t.end()
})

t.test('new jobs fill the room that erased ones have left', async t => {
  const service = await startService(t)
  const { pool } = service.database
  const names = Array.from({ length: 1_500 }, (_, n) => `Import ${n}`)
  const sizeOf = async () => {
    const { rows } = await pool.query<{ pages: number }>(
      "SELECT (pg_relation_size('public.progress_jobs') / 8192)::integer AS pages",
    )
    return rows[0]?.pages ?? 0
  }
  await fillNames(service, names)
  const full = await sizeOf()
  t.equal(await eraser(t, service, 1)(), names.length - 4, 'all but those of the last day')
  await pool.query('VACUUM public.progress_jobs')
  await fillNames(service, names)
  t.ok((await sizeOf()) <= full + 20, `${await sizeOf()} pages after ${full}`)
})
