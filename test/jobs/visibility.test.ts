import fc from 'fast-check'
import t from 'tap'
import { openDatabase } from '../../src/database/connection.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { progressJobs } from '../../src/database/schema.ts'
import { OPEN_IDENTITY, scopeOf, visibilityOf } from '../../src/jobs/identity.ts'
import { FEATURES } from '../../src/contract/tokens.ts'
import { inScope } from '../../src/jobs/in-scope.ts'
import { createInTurn } from '../../src/jobs/in-turn.ts'
import { createJobRepository } from '../../src/jobs/repository.ts'
import { createLiveSource } from '../../src/jobs/live-source.ts'
import { createHeartbeatWrite } from '../../src/jobs/heartbeats/write.ts'
import { sees, type Belonging } from '../../src/contract/visibility.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { entryOf } from '../helpers/entry.ts'

const { url, pool } = await createTestDatabase(t)
const database = openDatabase({ url, poolSize: 4, preparedStatements: true, onConnectionError: () => undefined })
t.teardown(() => database.close())
const repository = createJobRepository(database)
const source = createLiveSource(database, createInTurn(4).inTurn)
const write = createHeartbeatWrite(database)

const uuid = (n: number) => `00000000-0000-4000-8000-00000000000${n}`
const TENANTS = [uuid(1), uuid(2)]
const ORGANIZATIONS = [null, uuid(1), uuid(3)]
const FILTER = { jobIds: [], jobType: null, parentJobId: null, topLevel: false }

/** A job of its own, a batch and its partition, for each tenant and organization. */
const jobs: Belonging[] = []
for (const tenantId of TENANTS) {
  for (const organizationId of ORGANIZATIONS) {
    for (const isBatch of [false, true]) {
      for (const place of isBatch ? ['batch', 'partition'] : ['alone']) {
        const batchId: string | null = place === 'partition' ? (jobs.at(-1)?.id ?? null) : null
        const { rows } = await pool.query<Belonging>(
          `INSERT INTO public.progress_jobs (tenant_id, organization_id, job_type, name, heartbeat_timeout_seconds,
             parent_job_id, partition_index, partition_count, children)
           VALUES ($1, $2, 't', 'n', 60, $3, $4, $5, $6)
           RETURNING id, tenant_id AS "tenantId", organization_id AS "organizationId", parent_job_id AS "parentJobId"`,
          [
            tenantId,
            organizationId,
            batchId,
            batchId && 0,
            place === 'alone' ? null : 1,
            place === 'batch' ? '{}' : null,
          ],
        )
        jobs.push(...rows)
      }
    }
  }
}

const identities = fc.record({
  tenantId: fc.constantFrom(...TENANTS),
  organizationId: fc.constantFrom(...ORGANIZATIONS),
  features: fc.constantFrom(new Set(FEATURES), new Set(FEATURES.filter(feature => feature !== 'progress.manage'))),
  jobId: fc.constantFrom(null, null, ...jobs.map(({ id }) => id), uuid(9)),
})
const scopes = identities.map(fields => scopeOf({ ...OPEN_IDENTITY, ...fields }))
/** Those who see no job, one, a batch with its partition, an organization, and all jobs of a tenant. */
const examples = [
  { jobId: uuid(9) },
  { jobId: jobs[0]!.id },
  { jobId: jobs.find(({ parentJobId }) => parentJobId !== null)!.parentJobId },
  { organizationId: uuid(1), features: new Set(FEATURES.filter(feature => feature !== 'progress.manage')) },
  {},
].map((fields): [ReturnType<typeof scopeOf>] => [scopeOf({ ...OPEN_IDENTITY, tenantId: uuid(1), ...fields })])

const idsOf = (found: readonly { id: string }[]) => found.map(({ id }) => id).sort()

t.test('the service and the database decide the same about which jobs exist for a caller', async t => {
  const counts = new Set<number>()
  const run = async (scope: ReturnType<typeof scopeOf>) => {
    const wanted = visibilityOf(scope)
    const seen = idsOf(jobs.filter(job => sees(wanted, job)))
    counts.add(seen.length)
    const said = JSON.stringify(wanted)
    const { rows } = await pool.query<{ id: string; seen: boolean }>(
      `SELECT j.id, ${FUNCTIONS}.sees(j, $1, $2, $3, $4) AS seen FROM public.progress_jobs j`,
      [scope.tenantId, scope.allOrganizations, scope.organizationId, scope.jobId],
    )
    t.same(idsOf(rows.filter(row => row.seen)), seen, `headway.sees: ${said}`)
    const { documents } = await source.readSnapshot({ ...wanted, ...FILTER }, null, 100)
    t.same(idsOf(documents), seen, `a snapshot: ${said}`)
    const list = await repository.list(scope, {
      sort: { key: 'createdAt', descending: true },
      includeCompleted: true,
      page: 1,
      pageSize: 100,
    })
    t.same(idsOf(list.items), seen, `a list: ${said}`)
    const commanded = []
    for (const { id } of jobs) {
      const { code } = await repository.change(scope, id, 'retry', null, {})
      if (code !== 'job_not_found') commanded.push({ id })
    }
    t.same(idsOf(commanded), seen, `a command: ${said}`)
    for (const plain of [{}, { unit: 'rows' }]) {
      const { outcomes } = await write(
        jobs.map(({ id }) => entryOf({ jobId: id, processedCount: 1, ...plain }, { scope })),
        false,
      )
      const found = jobs.filter((_, n) => {
        const outcome = outcomes[n]
        return !(outcome?.kind === 'refused' && outcome.error.code === 'job_not_found')
      })
      t.same(idsOf(found), seen, `a heartbeat: ${said}`)
    }
  }
  await fc.assert(fc.asyncProperty(scopes, run), { numRuns: 40, examples, endOnFailure: true })
  t.ok(counts.has(0) && counts.has(1) && counts.size >= 4, 'from none to many')
})

t.test("the planner inlines the rule: the caller's values become conditions for which an index is used", async t => {
  const planOf = async (scope: ReturnType<typeof scopeOf>) => {
    const query = database.drizzle.select({ id: progressJobs.id }).from(progressJobs).where(inScope(scope))
    const { sql: text, params } = query.toSQL()
    const rows = await database.query<{ 'QUERY PLAN': string }>(null, `EXPLAIN (COSTS OFF) ${text}`, params)
    return rows.map(row => row['QUERY PLAN'].trim().replaceAll(/'([^']*)'::uuid/g, '$1')).join('\n')
  }
  const scope = { ...scopeOf(OPEN_IDENTITY), tenantId: uuid(1) }
  const all = await planOf(scope)
  t.notMatch(all, /sees|IS NULL|organization|OR/)
  t.match(all, `tenant_id = ${uuid(1)}`)
  const one = await planOf({ ...scope, allOrganizations: false, organizationId: uuid(3) })
  t.match(one, `organization_id = ${uuid(3)}`)
  t.notMatch(one, /sees|IS NULL|OR/)
  const none = await planOf({ ...scope, allOrganizations: false, organizationId: null })
  t.match(none, 'organization_id IS NULL')
  t.notMatch(none, /sees|OR/)
  const token = await planOf({ ...scope, jobId: uuid(5) })
  t.match(token, `parent_job_id = ${uuid(5)}`)
  t.notMatch(token, /sees|organization/)
  const { rows } = await pool.query<{ 'QUERY PLAN': string }>(`EXPLAIN (VERBOSE)
    SELECT j.id FROM public.webhooks w CROSS JOIN LATERAL (
      SELECT * FROM public.progress_jobs j
      WHERE ${FUNCTIONS}.sees(j, w.tenant_id, w.organization_id IS NULL, w.organization_id, w.id) OFFSET 0) j`)
  t.notMatch(rows.map(row => row['QUERY PLAN']).join(), 'sees', 'nor is it called where the caller is another row')
})
