import { backdate, finishedJob, passTime, runningJob, work } from './fixtures.ts'
import type { Service } from '../helpers/service.ts'

const DUE: Partial<Record<string, { finishWithinSeconds: number }>> = {
  'import:products': { finishWithinSeconds: 120 },
  reindex: { finishWithinSeconds: 300 },
}

/** Jobs of a company on an ordinary afternoon: what the pictures of the manual show. */
export const makeSampleJobs = async (service: Service) => {
  const ended = [
    ['import:products', 'Import spring catalogue', 50, 131, 8_200],
    ['import:products', 'Import supplier prices', 420, 96, 5_140],
    ['report:sales', 'Weekly sales report', 900, 42, 312],
    ['reindex', 'Reindex articles', 2_100, 380, 48_000],
    ['import:products', 'Import returns', 5_400, 88, 4_870],
    ['report:sales', 'Monthly sales report', 9_000, 51, 355],
    ['backup', 'Back up attachments', 11_000, 1_720, 96_400],
    ['transcode', 'Transcode webinar 41', 14_000, 640, 5_400],
    ['import:products', 'Import stock levels', 30_000, 74, 4_300],
    ['report:sales', 'Daily sales report', 64_000, 39, 290],
  ] as const
  for (const [jobType, name, secondsAgo, took, processed] of [...ended].reverse()) {
    const fields = { jobType, name, totalCount: processed, unit: 'rows', ...DUE[jobType] }
    await finishedJob(service, fields, { secondsAgo, took, processed, how: 'complete' })
  }
  // The same went wrong with others.
  for (const [name, secondsAgo, contact] of [
    ['Sync leads with the CRM', 1_900, 118],
    ['Sync partners with the CRM', 2_700, 2_041],
  ] as const) {
    const errorMessage = `Contact ${contact}: the CRM refused the record (422: phone number is malformed)`
    await finishedJob(
      service,
      { jobType: 'sync:crm', name, totalCount: 4_800, unit: 'records' },
      { secondsAgo, took: 140, processed: contact, how: 'fail', body: { errorMessage } },
    )
  }
  const failed = await finishedJob(
    service,
    {
      jobType: 'sync:crm',
      name: 'Sync contacts with the CRM',
      totalCount: 12_400,
      unit: 'records',
      meta: { source: 'crm.internal', batchSize: 200, requestedBy: 'nightly schedule' },
    },
    {
      secondsAgo: 260,
      took: 318,
      processed: 7_315,
      how: 'fail',
      body: {
        errorMessage: 'Contact 7316: the CRM refused the record (422: phone number is malformed)',
        errorStack: [
          'RecordRefused: Contact 7316: the CRM refused the record (422: phone number is malformed)',
          '    at CrmClient.push (/srv/sync/src/crm-client.ts:88:13)',
          '    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)',
          '    at async syncBatch (/srv/sync/src/sync.ts:41:7)',
          '    at async main (/srv/sync/src/main.ts:23:3)',
        ].join('\n'),
      },
    },
  )
  await finishedJob(
    service,
    { jobType: 'transcode', name: 'Transcode webinar 42', totalCount: 5_800, unit: 'chunks', cancellable: true },
    { secondsAgo: 1_500, took: 200, processed: 1_900, how: 'cancelled' },
  )

  await service.createJob({ jobType: 'report:sales', name: 'Quarterly sales report', totalCount: 940, unit: 'rows' })
  const proposals = await service.createJob({
    jobType: 'proposal',
    name: 'Generate proposals',
    stages: [
      { name: 'collecting', weight: 15 },
      { name: 'clustering', weight: 20 },
      { name: 'synthesizing', weight: 40 },
      { name: 'reviewing', weight: 20 },
      { name: 'publishing', weight: 5 },
    ],
  })
  await service.heartbeat(proposals.id, { stage: 'collecting', processedCount: 40, totalCount: 40 })
  await service.heartbeat(proposals.id, { stage: 'clustering', processedCount: 12, totalCount: 12 })
  for (const processedCount of [0, 5, 10, 15, 19]) {
    if (processedCount > 0) await passTime(service, proposals.id, 30)
    await service.heartbeat(proposals.id, {
      stage: 'synthesizing',
      processedCount,
      totalCount: 31,
      message: `Cluster ${processedCount}: pricing`,
    })
  }
  await backdate(service, proposals.id, { secondsAgo: 265, processed: 44, percent: 59 })
  const stalled = await runningJob(
    service,
    { jobType: 'sync:crm', name: 'Sync orders with the CRM', totalCount: 9_200, unit: 'records', cancellable: true },
    { secondsAgo: 540, processed: 4_120, message: 'Order 4120' },
  )
  const stuck = await runningJob(
    service,
    { jobType: 'transcode', name: 'Transcode product video', totalCount: 4_800, unit: 'chunks', cancellable: true },
    { secondsAgo: 900, processed: 3_010, message: 'Waiting for the encoder' },
  )
  const cancelling = await runningJob(
    service,
    { jobType: 'backup', name: 'Back up mailboxes', totalCount: 61_000, unit: 'files', cancellable: true },
    { secondsAgo: 1_900, processed: 27_000, message: 'mailboxes/k' },
  )
  await service.call('POST', `/jobs/${cancelling.id}/cancel`)
  await runningJob(
    service,
    { jobType: 'crawl', name: 'Crawl partner pages', unit: 'items', cancellable: true },
    { secondsAgo: 700, processed: 0, message: 'Following links' },
  )
  await runningJob(
    service,
    { jobType: 'upload', name: 'Upload archive to cold storage', totalCount: 84_000_000_000, unit: 'bytes' },
    { secondsAgo: 2_400, processed: 31_400_000_000, workers: 2, message: 'archive-2026-10.tar' },
  )
  const featured = await runningJob(
    service,
    {
      jobType: 'import:products',
      name: 'Import autumn catalogue',
      description: 'All suppliers, with prices and pictures',
      unit: 'rows',
      cancellable: true,
      meta: { file: 'catalogue-autumn.csv', suppliers: 38, pictures: true },
    },
    { secondsAgo: 780, processed: 158_400, workers: 4, total: 240_000, message: 'Supplier 25 of 38' },
  )
  const batch = await service.call<{ id: string; partitions: { id: string; name: string }[] }>('POST', '/jobs', {
    jobType: 'reindex',
    name: 'Reindex products',
    unit: 'rows',
    cancellable: true,
    partitions: ['A to C', 'D to F', 'G to I', 'J to L', 'M to O', 'P to R', 'S to U', 'V to Z'].map(name => ({
      name,
      totalCount: 12_000,
    })),
  })
  const { partitions } = batch.body
  for (const [index, processed] of [12_000, 12_000, 9_400, 7_100, 3_300].entries()) {
    const { id } = partitions[index]!
    await work(service, id, { secondsAgo: 1_180 - 60 * index, processed, message: `Row ${processed}` })
    if (processed === 12_000) await service.call('POST', `/jobs/${id}/complete`, {})
  }
  await backdate(service, batch.body.id, { secondsAgo: 1_200, processed: 43_800 })
  // A job without reports, and a job with reports that do not advance.
  await service.database.pool.query(
    `UPDATE progress_jobs SET liveness = 'stalled', heartbeat_at = now() - interval '47 seconds', revision = revision + 1 WHERE id = $1`,
    [stalled.id],
  )
  await service.database.pool.query(
    `UPDATE job_progress SET heartbeat_at = now() - interval '47 seconds' WHERE job_id = $1`,
    [stalled.id],
  )
  await service.database.pool.query(
    `UPDATE progress_jobs SET advanced_at = now() - interval '700 seconds' WHERE id = $1`,
    [stuck.id],
  )
  /** As if the workers of advancing jobs had just reported. */
  const refresh = () =>
    service.database.pool.query(
      `UPDATE progress_jobs SET advanced_at = now(), heartbeat_at = now(), updated_at = now(), revision = revision + 1
       WHERE status = 'running' AND id <> ALL ($1)`,
      [[stalled.id, stuck.id]],
    )
  return { refresh, featured, failed, batch: batch.body, stalled, proposals }
}
