import type { Service } from '../helpers/service.ts'

/** The setting that the service of the pictures needs for the secrets of chats. */
export const SEALING = { ENCRYPTION_KEYS: Buffer.alloc(32, 7).toString('base64') }

/** Destinations of a team: one works, one fails, one is paused. Nothing is sent to any of them. */
export const makeSampleDestinations = async (service: Service): Promise<void> => {
  const make = async (fields: object): Promise<string> => {
    const { status, body } = await service.call<{ id: string }>('POST', '/webhooks', {
      events: ['completed'],
      ...fields,
    })
    if (status !== 201) throw new Error(JSON.stringify(body))
    return body.id
  }
  const change = (id: string, columns: string) =>
    service.database.pool.query(`UPDATE public.webhooks SET ${columns} WHERE id = $1`, [id])
  const works = await make({
    kind: 'slack',
    settings: { token: 'xoxb-1', channel: 'C0123456789' },
    description: 'Catalogue team',
    // Of which there are none, so that nothing is sent.
    jobType: 'import:prices',
  })
  await change(works, "delivered_at = now() - interval '2 minutes'")
  const fails = await make({ url: 'https://hooks.example.com/headway', description: 'Order system' })
  await change(fails, "consecutive_failures = 4, failing_since = now() - interval '25 minutes'")
  for (const [minutes, status, answer, error] of [
    [44, 'delivered', 204, null],
    [25, 'waiting', 503, 'The receiver did not take it'],
    [3, 'waiting', 503, 'The receiver did not take it'],
  ] as const) {
    await service.database.pool.query(
      `INSERT INTO public.webhook_deliveries (webhook_id, type, body, status, attempts, due_at, created_at, expires_at, attempted_at,
         finished_at, response_status, error)
       SELECT $1, 'progress.job.completed', '{}', $3, $6, now() + interval '1 hour', at, now() + interval '3 days', at,
         CASE WHEN $3 = 'delivered' THEN at END, $4, $5
       FROM (SELECT now() - make_interval(mins => $2) AS at) a`,
      [fails, minutes, status, answer, error, status === 'delivered' ? 1 : 2],
    )
  }
  await make({
    kind: 'matrix',
    settings: { homeserver: 'https://matrix.example.org', token: 'syt_1', roomId: '!ops:example.org' },
    description: 'Night shift',
    enabled: false,
  })
}
