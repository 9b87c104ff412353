import type { JobChange } from '../contract/change.ts'

/** The channel on which every replica listens. */
export const CHANNEL = 'headway'

/**
 * Postgres refuses payloads of 8,000 bytes and more (https://www.postgresql.org/docs/current/sql-notify.html), and with one of
 * them the whole statement. The payloads are ASCII, so their length is their size.
 */
const MAX_PAYLOAD_BYTES = 7_900

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const isUuid = (value: unknown): value is string => typeof value === 'string' && UUID.test(value)

/**
 * Encodes changes as payloads of the form `[[tenantId, [[jobId, revision, lifecycle], …]], …]` with lifecycle 1 or 0. A payload
 * is a hint and contains no documents. `headway.notify_change` builds the same, with a fourth entry, 1, for lifecycle changes
 * that no process has logged yet. Makes as few payloads as the changes need, tenant by tenant.
 */
export const encodePayloads = (changes: Iterable<JobChange>): string[] => {
  const tenants = new Map<string, string[]>()
  for (const { tenantId, jobId, revision, lifecycle } of changes) {
    const jobs = tenants.get(tenantId)
    const job = `["${jobId}",${revision},${lifecycle ? 1 : 0}]`
    if (jobs) jobs.push(job)
    else tenants.set(tenantId, [job])
  }

  const payloads: string[] = []
  let open = ''
  for (const [tenantId, jobs] of tenants) {
    let head = `["${tenantId}",[`
    for (const job of jobs) {
      // 2 for a comma before the head and the outer bracket before it, 3 for the brackets that close job list, tenant and
      // payload.
      if (open.length + head.length + job.length + 5 > MAX_PAYLOAD_BYTES) {
        payloads.push(`[${open}${head === '' ? ']]' : ''}]`)
        open = ''
        head = `["${tenantId}",[`
      }
      open += head === '' ? `,${job}` : `${open === '' ? '' : ','}${head}${job}`
      head = ''
    }
    open += ']]'
  }
  if (open !== '') payloads.push(`[${open}]`)
  return payloads
}

/** The changes of a payload, or null if another program sent it: any role that may connect to the database may notify. */
export const decodePayload = (payload: string): JobChange[] | null => {
  let tenants: unknown
  try {
    tenants = JSON.parse(payload)
  } catch {
    return null
  }
  if (!Array.isArray(tenants)) return null
  const changes: JobChange[] = []
  for (const tenant of tenants as unknown[]) {
    if (!Array.isArray(tenant) || !isUuid(tenant[0]) || !Array.isArray(tenant[1])) return null
    for (const job of tenant[1] as unknown[]) {
      if (!Array.isArray(job) || !isUuid(job[0]) || !Number.isSafeInteger(job[1])) return null
      changes.push({
        tenantId: tenant[0],
        jobId: job[0],
        revision: job[1] as number,
        lifecycle: job[2] === 1,
        ...(job[3] === 1 && { isUntold: true }),
      })
    }
  }
  return changes
}
