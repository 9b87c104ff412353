import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import type { Test } from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import type { CreatedJob, JobDocument, JobEvent, ListedJob } from '../../src/contract/job.ts'
import { startService, type Problem, type Reply, type Service } from '../helpers/service.ts'
import { Reader } from '../live/clients.ts'

const SWEEPER_ID = '00000000-0000-4000-8000-00000000000a'

/** The fields of a problem document that a job does not have. */
type Refusal = Pick<Problem, 'code' | 'detail'>

/** Partitions of which nothing is said. */
export const nothingKnown = (count: number): object[] => Array.from({ length: count }, () => ({}))

/** Two replicas on one database, and the operations that tests of batches need. */
export const startBatchWorld = async (t: Test, settings: Record<string, unknown> = {}) => {
  const service = await startService(t, settings)
  const other = await startService(t, { ...settings, database: service.database })
  const { pool } = service.database

  // A process that has been healthy for a day, beside nobody else.
  await pool.query('DELETE FROM public.service_processes')
  await pool.query(`SELECT ${FUNCTIONS}.visit($1, 5, false, NULL, NULL)`, [SWEEPER_ID])
  await pool.query("UPDATE public.service_processes SET healthy_since = now() - interval '1 day'")

  /** The two halves of a sweep. */
  const endAbandoned = async (): Promise<void> => {
    await pool.query('UPDATE public.service_processes SET seen_at = now()')
    await pool.query(`SELECT ${FUNCTIONS}.end_abandoned($1, 5, 500)`, [SWEEPER_ID])
  }
  const markStalled = async (): Promise<void> => {
    await pool.query('UPDATE public.service_processes SET seen_at = now()')
    await pool.query(`SELECT ${FUNCTIONS}.mark_stalled($1, 5, 30, 500)`, [SWEEPER_ID])
  }
  const sweep = async (): Promise<void> => {
    await endAbandoned()
    await markStalled()
  }

  /** A running job has been silent for so many seconds now. */
  const silence = (id: string, seconds: number) =>
    pool.query(
      "UPDATE public.progress_jobs SET heartbeat_at = now() - make_interval(secs => $2) WHERE id = $1 AND status = 'running'",
      [id, seconds],
    )

  const makeStale = async (id: string): Promise<void> => {
    await silence(id, 61)
    await sweep()
  }

  const post = (
    id: string,
    command: string,
    body?: object,
    to: Service = service,
  ): Promise<Reply<JobDocument & Refusal>> => to.call('POST', `/jobs/${id}/${command}`, body)

  const create = (
    fields: object,
    { key, to = service }: { key?: string; to?: Service } = {},
  ): Promise<Reply<CreatedJob & Refusal>> =>
    to.call('POST', '/jobs', { name: 'a job', ...fields }, key === undefined ? {} : { 'idempotency-key': key })

  /** A batch with partitions named p0, p1 and so on, whose fields beside the name are given; and their ids by index. */
  const createBatch = async (partitions: object[], fields: object = {}): Promise<{ id: string; ids: Ids }> => {
    const { status, body } = await create({
      // A type of its own: otherwise the batch would be expected to take as long as other batches.
      jobType: randomUUID(),
      ...fields,
      partitions: partitions.map((partition, index) => ({ name: `p${index}`, ...partition })),
    })
    if (status !== 201) throw new Error(`cannot create a batch: ${JSON.stringify(body)}`)
    return { id: body.id, ids: (body.partitions ?? []).map(({ id }) => id) as Ids }
  }

  /** The partitions of a batch as a list shows them, by index. */
  const partitionsOf = async (batchId: string): Promise<ListedJob[]> => {
    const path = `/jobs?parentJobId=${batchId}&sort=partitionIndex&pageSize=100`
    return (await service.call<{ items: ListedJob[] }>('GET', path)).body.items
  }

  const eventsOf = async (id: string): Promise<JobEvent[]> =>
    (await service.call<{ items: JobEvent[] }>('GET', `/jobs/${id}/events?pageSize=1000`)).body.items

  /** An open stream of a replica that has sent its snapshot, with all that it sends. */
  const openStream = async (t: Test, path: string, to: Service = service): Promise<Reader> => {
    const outgoing = get(`${to.url}/api/progress${path}`, { agent: false, headers: { accept: 'text/event-stream' } })
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    const reader = new Reader(response, 'sse')
    t.teardown(() => reader.close())
    await reader.event('snapshot')
    return reader
  }

  return {
    service,
    other,
    pool,
    endAbandoned,
    markStalled,
    sweep,
    silence,
    makeStale,
    post,
    create,
    createBatch,
    partitionsOf,
    eventsOf,
    openStream,
  }
}

/** At least one; tests know how many they asked for. */
export type Ids = [string, string, string, ...string[]]
