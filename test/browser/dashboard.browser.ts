import type { Locator, Page } from 'playwright-core'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { openBrowser, openPage, visit } from './browser.ts'
import { finishedJob, runningJob, work } from './fixtures.ts'
import { makeSampleWeek } from './sample-week.ts'

const browser = await openBrowser(t)
const service = await startService(t)

const row = (page: Page, name: string): Locator => page.getByRole('row').filter({ hasText: name })

/** Waits until the element holds the text. */
const holds = async (locator: Locator, text: string | RegExp): Promise<void> => {
  await locator.filter({ hasText: text }).first().waitFor()
}

t.test('a visitor of a new service is told how to make the first job, and sees it as soon as it is there', async t => {
  const fresh = await startService(t)
  const { page } = await visit(t, browser, fresh.url)
  await page.getByText('No jobs are active').waitFor()
  await holds(page.locator('.tour pre'), `curl '${fresh.url}/api/progress/jobs'`)
  await fresh.createJob({ name: 'The first' })
  await row(page, 'The first').waitFor()
  t.equal(await page.getByText('No jobs are active').count(), 0)
})

t.test(
  'a report of a worker changes the bar, counts, speed, time left and message at once, and so does the end',
  async t => {
    const { page } = await visit(t, browser, service.url)
    const asked: string[] = []
    page.on('request', request => asked.push(new URL(request.url()).pathname))
    const job = await service.createJob({ name: 'Nightly import', totalCount: 1200, unit: 'rows', jobType: 'import' })
    const line = row(page, 'Nightly import')
    await holds(line, '0 / 1,200 rows')
    t.equal(await line.getByRole('progressbar').getAttribute('aria-valuetext'), '0%, Pending')
    const start = Date.now()
    for (const [index, processedCount] of [0, 300, 600, 900].entries()) {
      const reportedAt = new Date(start - 30_000 + index * 10_000).toISOString()
      await service.heartbeat(job.id, { processedCount, message: `Row ${processedCount}`, reportedAt })
    }
    await holds(line, '900 / 1,200 rows')
    await holds(line, /import · for \d+ s · Row 900/)
    await holds(line.locator('.speed'), /^\s*\d+(\.\d+)?\/s\s*$/)
    await holds(line.locator('.workers'), /^\s*1\s*$/)
    t.notOk(
      asked.some(path => path.endsWith(job.id)),
      'the stream says how many workers there are',
    )
    const bar = line.getByRole('progressbar')
    t.equal(await bar.getAttribute('aria-valuenow'), '75')
    const left = async () => Number(/(\d+)\ss/.exec((await line.locator('.left').textContent()) ?? '')?.[1])
    const before = await left()
    t.ok(before > 0 && before < 60, `about 10 s are left: ${before}`)
    await waitFor(async () => (await left()) < before, { timeoutMs: 4_000 })
    await service.call('POST', `/jobs/${job.id}/complete`, {})
    await line.waitFor({ state: 'detached' })
    await holds(page.getByRole('complementary'), 'Nightly import')
  },
)

t.test('a silent job, and one that reports without advancing, look different and can be filtered', async t => {
  const fields = { jobType: 'watch', totalCount: 100 }
  const silent = await runningJob(service, { ...fields, name: 'Silent one' }, { secondsAgo: 60, processed: 50 })
  const stuck = await runningJob(service, { ...fields, name: 'Stuck one' }, { secondsAgo: 60, processed: 50 })
  await runningJob(service, { ...fields, name: 'Busy one' }, { secondsAgo: 60, processed: 50 })
  const { page } = await visit(t, browser, `${service.url}/?type=watch`)
  await holds(page.getByRole('table'), 'Busy one')
  t.equal(await page.locator('[data-condition=stalled], [data-condition=not_advancing]').count(), 0)
  await service.database.pool.query(
    `UPDATE progress_jobs SET liveness = 'stalled', revision = revision + 1 WHERE id = $1`,
    [silent.id],
  )
  await service.database.pool.query(
    `UPDATE progress_jobs SET advanced_at = now() - interval '29 seconds', revision = revision + 1 WHERE id = $1`,
    [stuck.id],
  )
  // Found by comparing revisions: nobody has announced it.
  await holds(row(page, 'Silent one'), 'Stalled')
  await holds(row(page, 'Stuck one'), /No advance for 3\d s/)
  const shapes = await page.locator('.job .mark').evaluateAll(marks => marks.map(mark => mark.innerHTML))
  t.equal(new Set(shapes).size, 3, 'by their shape, not by colour alone')
  t.equal((await row(page, 'Silent one').locator('.left').textContent())?.trim(), '', 'no time counts down')
  await page.getByRole('button', { name: 'Needs attention 2' }).click()
  await row(page, 'Busy one').waitFor({ state: 'detached' })
  t.equal(await page.locator('.row').count(), 2)
  t.match(page.url(), /status=attention/)
})

t.test('filters by text and type are in the address, and say when nothing fits', async t => {
  for (const name of ['Alpha', 'Beta']) await service.createJob({ name, jobType: `filter ${name}` })
  const { page } = await visit(t, browser, service.url)
  await row(page, 'Alpha').waitFor()
  await page.getByLabel('Filter by text').fill('alph')
  await row(page, 'Beta').waitFor({ state: 'detached' })
  t.match(page.url(), /q=alph/)
  await page.reload()
  await row(page, 'Alpha').waitFor()
  t.equal(await page.getByLabel('Filter by text').inputValue(), 'alph')
  await page.getByLabel('Filter by text').fill('nothing is called so')
  await page.getByText('No job fits these filters').waitFor()
  await page.getByRole('link', { name: 'Clear filters' }).click()
  await page.getByLabel('Type').selectOption('filter Beta')
  await row(page, 'Alpha').waitFor({ state: 'detached' })
  t.equal(await page.locator('.row').count(), 1)
})

t.test('cancel asks first, and the page then shows the answer of the worker', async t => {
  const job = await runningJob(
    service,
    { name: 'Cancel me', jobType: 'cancel', totalCount: 10, cancellable: true },
    { secondsAgo: 10, processed: 4 },
  )
  await service.createJob({ name: 'Not to be cancelled', jobType: 'cancel' })
  const { page } = await visit(t, browser, `${service.url}/?type=cancel`)
  await row(page, 'Not to be cancelled').waitFor()
  t.equal(await page.getByRole('button', { name: 'Cancel Not to be cancelled' }).count(), 0)
  await page.getByRole('button', { name: 'Cancel Cancel me' }).click()
  const dialog = page.getByRole('dialog', { name: 'Cancel this job?' })
  await dialog.getByRole('button', { name: 'Keep it as it is' }).click()
  await dialog.waitFor({ state: 'hidden' })
  t.equal((await service.job(job.id)).cancelRequestedAt, null)
  await page.getByRole('button', { name: 'Cancel Cancel me' }).click()
  await dialog.getByRole('button', { name: 'Cancel the job' }).click()
  await holds(row(page, 'Cancel me'), 'Cancelling')
  t.ok((await service.job(job.id)).cancelRequestedAt)
  t.equal(await page.getByRole('button', { name: 'Cancel Cancel me' }).count(), 0, 'once is enough')
  await service.call('POST', `/jobs/${job.id}/cancelled`, {})
  await row(page, 'Cancel me').waitFor({ state: 'detached' })
  // And back again, from its page.
  await page.getByRole('complementary').getByRole('link', { name: 'Cancel me' }).click()
  await page.getByRole('button', { name: 'Retry' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Retry the job' }).click()
  await holds(page.locator('job-page'), 'Attempt 2')
  await holds(page.locator('.timeline'), 'Retried as attempt 2')
  t.equal((await service.job(job.id)).attempt, 2)
})

t.test('the dialog says why a cancellation was refused', async t => {
  const job = await service.createJob({ name: 'Too late', jobType: 'late', cancellable: true })
  const { page, complaints } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  await page.getByRole('button', { name: 'Cancel' }).click()
  await service.call('POST', `/jobs/${job.id}/complete`, {})
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: 'Cancel the job' }).click()
  await holds(dialog.getByRole('alert'), 'That did not work: The job has already ended.')
  complaints.forgive(/409/)
})

t.test('a batch unfolds into its partitions, which change as they are worked on', async t => {
  const { body } = await service.call<{ id: string; partitions: { id: string }[] }>('POST', '/jobs', {
    jobType: 'batch',
    name: 'Reindex everything',
    partitions: Array.from({ length: 250 }, (_, index) => ({ name: `Part ${index + 1}`, totalCount: 10 })),
  })
  const { page } = await visit(t, browser, `${service.url}/?type=batch`)
  await holds(row(page, 'Reindex everything'), '250 partitions')
  const button = page.getByRole('button', { name: 'Show the partitions of Reindex everything' })
  t.equal(await button.getAttribute('aria-expanded'), 'false')
  await button.click()
  await page.getByRole('link', { name: 'Part 1', exact: true }).waitFor()
  t.equal(await page.getByRole('table').getAttribute('aria-rowcount'), '252')
  await service.heartbeat(body.partitions[0]!.id, { processedCount: 4 })
  await holds(row(page, 'Part 1').first(), '4 / 10')
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight))
  await page.getByRole('link', { name: 'Part 250', exact: true }).waitFor()
  t.ok((await page.locator('.row').count()) < 60, 'only what can be seen is in the document')
  await page.evaluate(() => scrollTo(0, 0))
  await page.getByRole('button', { name: 'Hide the partitions' }).click()
  await page.getByRole('link', { name: 'Part 1', exact: true }).waitFor({ state: 'detached' })
})

t.test(
  'the page of a job has an address of its own, is the same after a reload, and leads back to the list',
  async t => {
    const job = await service.createJob({
      jobType: 'page',
      name: 'Generate proposals',
      stages: [{ name: 'collecting' }, { name: 'writing', weight: 3 }],
      meta: { requestedBy: 'sales' },
    })
    await service.heartbeat(job.id, { stage: 'collecting', processedCount: 5, totalCount: 5, workerId: 'worker-1' })
    const { page } = await visit(t, browser, `${service.url}/?type=page`)
    await page.getByRole('link', { name: 'Generate proposals' }).click()
    await page.getByRole('heading', { level: 1, name: 'Generate proposals' }).waitFor()
    t.equal(new URL(page.url()).pathname, `/jobs/${job.id}`)
    await page.reload()
    await holds(page.locator('.stages li').first(), 'collecting')
    await holds(page.getByRole('region', { name: 'Workers' }), 'worker-1')
    await holds(page.locator('pre'), '"requestedBy": "sales"')
    await service.heartbeat(job.id, { stage: 'writing', processedCount: 2, totalCount: 4, workerId: 'worker-1' })
    await holds(page.locator('.timeline'), 'Entered stage \u2068writing\u2069')
    await holds(page.locator('.stages [aria-current=step]'), 'writing')
    await page.locator('canvas').first().waitFor()
    t.match(
      await page.locator('[data-chart=progress]').getAttribute('aria-label'),
      /^Progress from 0% at .* to \d+% at /,
    )
    await service.call('POST', `/jobs/${job.id}/fail`, { errorMessage: 'Out of paper', errorStack: 'at tray (2)' })
    const error = page.getByRole('region', { name: 'Failed, as its worker reported' })
    await holds(error, 'Out of paper')
    await holds(error.locator('pre'), 'at tray (2)')
    await page.goBack()
    await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor({ state: 'attached' })
    t.equal(new URL(page.url()).search, '?type=page')
  },
)

t.test('the page of a job shows the range of its time left, and its row in the list shows one number', async t => {
  const job = await service.createJob({ jobType: 'ranged', name: 'Long import', totalCount: 1000 })
  await service.heartbeat(job.id, { processedCount: 400 })
  const estimate = (spread: number) =>
    service.database.pool.query(
      `UPDATE progress_jobs SET eta_seconds = 725, eta_source = 'history', eta_spread = $2, advanced_at = now(),
         updated_at = now(), revision = revision + 1 WHERE id = $1`,
      [job.id, spread],
    )
  await estimate(0.3)
  const { page } = await visit(t, browser, `${service.url}/?type=ranged`)
  await holds(row(page, 'Long import').locator('.left'), /^\s*1[12]\smin \d+\ss\s*$/)
  await page.getByRole('link', { name: 'Long import' }).click()
  const left = page.locator('.overview dd').filter({ hasText: 'mainly from earlier jobs of its type' })
  await holds(left.locator('bdi'), /^about 1[23] min \(8 to 18\)$/)
  await holds(left.locator('.vh'), /^about 1[23] minutes, probably from 8 minutes to 18 minutes$/)
  await page.setViewportSize({ width: 320, height: 900 })
  // Charts are drawn anew in a frame of their own.
  await page.waitForFunction(() => document.documentElement.scrollWidth <= innerWidth)
  await estimate(0.01)
  await holds(left, /^\s*1[12]\smin \d+\ss, \d+:\d\d/)
})

t.test('the page of a batch shows its partitions, and the page of a partition follows the partition', async t => {
  const { body } = await service.call<{ id: string; partitions: { id: string }[] }>('POST', '/jobs', {
    jobType: 'batch page',
    name: 'Split work',
    partitions: [
      { name: 'Left', totalCount: 10 },
      { name: 'Right', totalCount: 10 },
    ],
  })
  const { page } = await visit(t, browser, `${service.url}/jobs/${body.id}`)
  await holds(page.locator('job-partitions'), /Pending\s+2/)
  await row(page, 'Left').getByRole('link').click()
  await page.getByRole('heading', { level: 1, name: 'Left' }).waitFor()
  await service.heartbeat(body.partitions[0]!.id, { processedCount: 7 })
  await holds(page.locator('.gauge'), '70%')
  await page.getByRole('link', { name: 'Partition of a batch' }).click()
  await holds(page.locator('job-partitions'), /Running\s+1/)
})

t.test('a batch says which partitions are silent and which have failed, and keeps its numbers', async t => {
  const { body } = await service.call<{ id: string; partitions: { id: string }[] }>('POST', '/jobs', {
    jobType: 'partly',
    name: 'Partly silent',
    unit: 'rows',
    partitions: Array.from({ length: 9 }, (_, index) => ({ name: `Part ${index + 1}`, totalCount: 100 })),
  })
  const ids = body.partitions.map(({ id }) => id)
  for (const id of ids.slice(0, 7)) await work(service, id, { secondsAgo: 60, processed: 50 })
  await service.call('POST', `/jobs/${ids[0]}/fail`, { errorMessage: 'No more paper' })
  await service.call('POST', `/jobs/${ids[1]}/fail`, { errorMessage: 'No more ink' })
  await service.database.pool.query(`UPDATE progress_jobs SET liveness = 'stalled' WHERE id = $1`, [ids[3]])
  // It makes the batch anew from its partitions.
  await service.heartbeat(ids[2]!, { processedCount: 51 })
  const { page } = await visit(t, browser, `${service.url}/?type=partly`)
  const line = row(page, 'Partly silent')
  await holds(line, '1 of 5 stalled')
  await holds(line.locator('.speed'), /\d/)
  await holds(line.locator('.left'), /\d|soon/)
  await page.getByRole('button', { name: 'Needs attention 1' }).waitFor()
  await line.getByRole('link', { name: '2 failed' }).click()
  const partitions = page.locator('job-partitions .row')
  await partitions.filter({ hasText: 'Part 2' }).waitFor()
  t.equal(await partitions.count(), 2)
  t.match(page.url(), /partitions=failed/)
  await page.getByRole('heading', { name: '2 of 9 partitions failed' }).waitFor()
  t.same(await page.locator('.errors li').allTextContents(), ['Part 1: No more paper', 'Part 2: No more ink'])
  t.equal(await page.getByText('No worker has reported for a while').count(), 0, 'others have')
  await page.getByRole('listitem').filter({ hasText: 'A partition stalled' }).waitFor()
  t.equal(await page.getByText('no heartbeats').count(), 0, 'nor in its history')
  await page.getByRole('link', { name: '1 of 5 running partitions is stalled' }).click()
  await partitions.filter({ hasText: 'Part 4' }).waitFor()
  t.equal(await partitions.count(), 1)
  await page.locator('job-partitions').getByRole('button', { name: 'All 9' }).click()
  // Rows are drawn where the window is.
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight))
  await partitions.filter({ hasText: 'Part 9' }).waitFor()
})

t.test('the page says that a job or a page is unknown', async t => {
  const { page, complaints } = await visit(t, browser, `${service.url}/jobs/0197a3c2-5b1e-7c44-9d0a-000000000000`)
  await page.getByText('There is no such job').waitFor()
  await page.getByRole('link', { name: 'To all jobs' }).click()
  await page.getByRole('heading', { level: 1, name: 'Jobs' }).waitFor({ state: 'attached' })
  await page.goto(`${service.url}/jobs/nonsense`)
  await page.getByText('There is no such job').waitFor()
  complaints.forgive(/status of 40[04]/)
})

t.test('history and statistics show what has finished', async t => {
  const own = await startService(t)
  for (const [name, how] of [
    ['Went well', 'complete'],
    ['Went wrong', 'fail'],
  ] as const) {
    const body = how === 'fail' ? { errorMessage: 'Disk full' } : {}
    const end = { secondsAgo: 100, took: 90, processed: 50, how, body }
    await finishedJob(own, { name, jobType: 'export', totalCount: 50, unit: 'files' }, end)
  }
  const { page } = await visit(t, browser, `${own.url}/?view=history`)
  await holds(row(page, 'Went wrong'), 'Disk full')
  await page.getByRole('button', { name: 'Failed' }).click()
  await row(page, 'Went well').waitFor({ state: 'detached' })
  await page.getByRole('link', { name: 'Statistics' }).click()
  const line = page.getByRole('row').filter({ hasText: 'export' })
  await holds(line, '50%')
  await holds(line, '1 min 30 s')
  await line.getByRole('link', { name: 'export' }).click()
  t.match(page.url(), /types\?name=export/)
  await page.getByRole('link', { name: 'All runs in the history' }).click()
  t.match(page.url(), /view=history&type=export/)
  await row(page, 'Went well').waitFor()
  // Nothing of this type is on the page, and it can be asked for all the same.
  await page.goto(`${own.url}/?view=history&status=cancelled`)
  await page.locator('select[name=type] option[value=export]').waitFor({ state: 'attached' })
})

t.test('statistics draw how many jobs ended late and by how much, and lead to them', async t => {
  const own = await startService(t)
  for (const [name, took, finishWithinSeconds] of [
    ['In time', 59, 60],
    ['Late', 90, 60],
    ['Very late', 600, 60],
  ] as const)
    await finishedJob(
      own,
      { name, jobType: 'export', finishWithinSeconds },
      { secondsAgo: 10, took, processed: 50, how: 'complete' },
    )
  const { page } = await visit(t, browser, `${own.url}/statistics`)
  const line = page.getByRole('row').filter({ hasText: 'export' })
  await holds(line, 'median 4 min 45 s, at most 9 min')
  await line.getByRole('img', { name: '3 completed, 0 failed, 0 cancelled, 2 of them ended late' }).waitFor()
  const [late = 0, all = 0] = await Promise.all(
    ['late', 'completed'].map(async name => (await line.locator(`[data-outcome=${name}]`).boundingBox())?.width),
  )
  t.ok(Math.abs(late / all - 2 / 3) < 0.02, 'on one scale with the outcomes')
  await line.getByRole('link', { name: '2', exact: true }).click()
  await holds(row(page, 'Very late'), 'Completed · 9 min late')
  t.equal(await row(page, 'In time').count(), 0)
  t.match(page.url(), /status=overdue/)
})

t.test(
  'statistics draw outcomes and durations over time, tell of the period under the pointer, and have a table',
  async t => {
    const own = await startService(t)
    await makeSampleWeek(own)
    const { page } = await visit(t, browser, `${own.url}/statistics`)
    const chart = page.locator('statistics-chart')
    await chart.getByRole('img', { name: /^Finished jobs from .+ to .+\. The most were/ }).waitFor()
    await chart.getByRole('img', { name: /^Durations of completed jobs\. Medians are from/ }).waitFor()
    t.equal(await chart.locator('[data-part=band]').count(), 1)
    await chart.locator('[data-drawing=outcomes] .plot').hover()
    await holds(chart.locator('.readout'), '95th percentile')
    await chart.getByText('As a table').click()
    // Seven days before today, which began at midnight.
    t.equal(await chart.getByRole('row').count(), 1 + 8)
    await chart.getByText('Days and weeks are those of UTC.').waitFor()
    await page.getByRole('button', { name: '24 hours' }).click()
    await page.waitForFunction(() => document.querySelectorAll('statistics-chart tbody tr').length === 25)
    t.equal(await chart.getByText('UTC').count(), 0, 'hours are told in the time of the visitor')
  },
)

t.test('the page speaks the first language of the visitor that it knows, and writes numbers as there', async t => {
  await service.createJob({ name: 'Viele Zeilen', jobType: 'words', totalCount: 12_345, unit: 'rows' })
  for (const [locale, tab, count] of [
    ['de-DE', 'Aktiv', '0 / 12.345 Zeilen'],
    ['fr-FR', 'Actives', '0 / 12\u202f345 lignes'],
    ['tlh', 'Active', '0 / 12,345 rows'],
  ] as const) {
    const { page } = await visit(t, browser, `${service.url}/?type=words`, { locale })
    await page.getByRole('link', { name: tab, exact: true }).waitFor()
    await holds(row(page, 'Viele Zeilen'), count)
    t.equal(await page.locator('html').getAttribute('lang'), locale === 'tlh' ? 'en' : locale.slice(0, 2))
  }
})

t.test('the page says in the language of the visitor why the service has ended a job', async t => {
  const own = await startService(t, { SWEEP_SCHEDULE: '* * * * * *' })
  const batch = await own.createJob({
    name: 'Batch',
    heartbeatTimeoutSeconds: 1,
    partitions: [{ name: 'Berlin' }, { name: 'Paris' }],
  })
  const [silent = ''] = (batch as unknown as { partitions: { id: string }[] }).partitions.map(({ id }) => id)
  await own.heartbeat(silent, {})
  const alone = await own.createJob({ name: 'Alone', heartbeatTimeoutSeconds: 1 })
  await own.heartbeat(alone.id, {})
  const late = await own.createJob({ name: 'Late', pendingTimeoutSeconds: 1 })
  for (const id of [silent, alone.id, late.id]) {
    await waitFor(async () => (await own.job(id)).status === 'failed', { timeoutMs: 20_000 })
  }
  const { page } = await visit(t, browser, `${own.url}/jobs/${alone.id}`, { locale: 'de-DE' })
  const pages = [
    [`/jobs/${alone.id}`, ['Kein Heartbeat seit 1 s', 'Seine Worker waren stumm']],
    [`/jobs/${late.id}`, ['Nicht begonnen innerhalb von 1 s', 'Er wurde nie begonnen']],
    [`/jobs/${batch.id}`, ['Berlin: Seine Worker waren stumm']],
    ['/?view=history', ['Er wurde nie begonnen', 'Seine Worker waren stumm']],
  ] as const
  for (const [path, texts] of pages) {
    await page.goto(`${own.url}${path}`)
    const main = page.locator('main')
    for (const text of texts) await holds(main, new RegExp(text.replaceAll(' ', '\\s?')))
    t.notMatch(await main.innerText(), /heartbeat for|not started|were silent/i, path)
  }
})

t.test(
  'texts of callers are isolated: one that is written from right to left does not affect the text around it',
  async t => {
    const own = await startService(t)
    const rtl = (latin: string) => `שלום ${latin}`
    const job = await own.createJob({
      name: rtl('name'),
      jobType: rtl('type'),
      unit: rtl('unit'),
      description: rtl('description'),
      totalCount: 10,
    })
    await own.heartbeat(job.id, {
      processedCount: 5,
      message: rtl('message'),
      workerId: rtl('worker'),
      stage: rtl('stage'),
    })
    const failed = await own.createJob({ name: rtl('failed'), jobType: rtl('type') })
    await own.call('POST', `/jobs/${failed.id}/fail`, { errorMessage: rtl('error') })
    /** Texts that stand beside others in one paragraph of bidirectional text, or have the direction of the page. */
    const bare = (page: Page): Promise<string[]> =>
      page.evaluate(() => {
        const found: string[] = []
        const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
        while (texts.nextNode()) {
          const { data, parentElement } = texts.currentNode as Text
          if (!data.includes('שלום') || parentElement?.closest('script, style, pre, .vh, option') != null) continue
          const isolated = data.split('\u2068').slice(1).join('').includes('שלום')
          if (parentElement?.closest('bdi, [dir=auto]') == null && !isolated) found.push(data.trim())
        }
        return found
      })
    const { page } = await visit(t, browser, own.url)
    for (const [path, text] of [
      ['/', rtl('message')],
      ['/?view=history', rtl('error')],
      [`/jobs/${job.id}`, rtl('worker')],
      [`/jobs/${failed.id}`, rtl('error')],
      ['/statistics', rtl('type')],
      [`/types?name=${encodeURIComponent(rtl('type'))}`, rtl('type')],
      ['/?view=history&grouped=1', rtl('error')],
    ] as const) {
      await page.goto(`${own.url}${path}`)
      await holds(page.locator('main'), text)
      t.same(await bare(page), [], path)
    }
  },
)

t.test(
  'dark and light follow the system until the visitor chooses, and the choice holds for the next visit',
  async t => {
    const { page } = await visit(t, browser, service.url, { colorScheme: 'dark' })
    const looks = (appearance: string) => page.locator(`html[data-appearance=${appearance}]`).waitFor()
    await looks('dark')
    await page.emulateMedia({ colorScheme: 'light' })
    await looks('light')
    await page.getByRole('button', { name: 'Dark' }).click()
    await looks('dark')
    await page.reload()
    await looks('dark')
    await page.getByRole('button', { name: 'Like the system' }).click()
    await looks('light')
    const ground = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
    t.equal(ground, 'rgb(246, 247, 249)')
  },
)

t.test('everything can be done with the keyboard alone', async t => {
  for (const name of ['Key one', 'Key two', 'Key three']) {
    await service.createJob({ name, jobType: 'keys', cancellable: true, totalCount: 3 })
  }
  const { page } = await visit(t, browser, `${service.url}/?type=keys`)
  await row(page, 'Key one').waitFor()
  const focused = () => page.evaluate(() => document.activeElement?.textContent.trim())
  await page.keyboard.press('Tab')
  t.equal(await focused(), 'Skip to the content')
  await page.keyboard.press('Enter')
  for (let presses = 0; presses < 20 && (await focused()) !== 'Key three'; presses += 1)
    await page.keyboard.press('Tab')
  t.equal(await focused(), 'Key three', 'Tab leads past the filters into the list')
  await page.keyboard.press('ArrowDown')
  await waitFor(async () => (await focused()) === 'Key two')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  await page.getByRole('dialog').waitFor()
  t.equal(await focused(), 'Keep it as it is', 'what does no harm has the focus')
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'hidden' })
  t.equal(await page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Cancel Key two')
  await page.keyboard.press('Shift+Tab')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { level: 1, name: 'Key two' }).waitFor()
  t.equal(await page.evaluate(() => document.activeElement?.id), 'content', 'a reader is taken to the new page')
  const outline = await page.evaluate(() => {
    const button = document.querySelector<HTMLElement>('.buttons .button')
    button?.focus()
    return button === null ? '' : getComputedStyle(button).outlineStyle
  })
  t.equal(outline, 'solid', 'where the focus is can be seen')
})

t.test(
  'the keyboard focus keeps its place when a row ends, after a button was pressed, and from page to page',
  async t => {
    const made = await Promise.all(
      ['One', 'Two', 'Three'].map(name =>
        service.createJob({ name: `Place ${name}`, jobType: 'place', cancellable: true, totalCount: 4 }),
      ),
    )
    const { page } = await visit(t, browser, `${service.url}/?type=place&sort=name`)
    const focused = (text: string) =>
      page.waitForFunction(wanted => document.activeElement?.textContent.trim() === wanted, text)
    await row(page, 'Place One').getByRole('link').focus()
    await service.call('POST', `/jobs/${made[0]!.id}/complete`, {})
    await focused('Place Three')
    await row(page, 'Place Three').getByRole('button', { name: 'Cancel' }).press('Enter')
    await focused('Keep it as it is')
    await page.keyboard.press('Escape')
    await page.waitForFunction(() => document.activeElement?.getAttribute('aria-label') === 'Cancel Place Three')
    await page.keyboard.press('Enter')
    await page.getByRole('button', { name: 'Cancel the job' }).press('Enter')
    await focused('Place Two')
    await page.keyboard.press('Enter')
    await page.waitForFunction(() => document.activeElement?.tagName === 'MAIN')
    await service.call('POST', `/jobs/${made[1]!.id}/start`)
    await page.locator('.badge').getByText('Running').waitFor()
    await page.getByRole('button', { name: 'Cancel' }).press('Enter')
    await page.getByRole('button', { name: 'Cancel the job' }).press('Enter')
    // The button beside it, now that there is nothing left to cancel.
    await focused('Notify me')
  },
)

t.test(
  'a screen reader is told how many jobs a filter found, and is not told of every job that comes and goes',
  async t => {
    const { page } = await visit(t, browser, `${service.url}/?type=said`)
    await page.getByText('No job fits these filters').waitFor()
    const said = page.locator('active-jobs [role=status]')
    for (const name of ['Said one', 'Said two']) await service.createJob({ name, jobType: 'said' })
    await row(page, 'Said two').waitFor()
    t.equal(await said.textContent(), '')
    await page.getByLabel('Filter by text').fill('two')
    await holds(said, '1 job')
  },
)

t.test('the list can be sorted, its columns say so, and the order holds while numbers change', async t => {
  const jobs = await Promise.all(
    ['b 10', 'b 9', 'a'].map(name => service.createJob({ name, jobType: 'order', totalCount: 100 })),
  )
  for (const [index, processedCount] of [20, 70, 40].entries())
    await service.heartbeat(jobs[index]!.id, { processedCount })
  const { page } = await visit(t, browser, `${service.url}/?type=order`)
  const names = async () => (await page.locator('.row .title a').allTextContents()).join()
  await page.locator('select[name=sort]').selectOption('By name')
  await waitFor(async () => (await names()) === 'a,b 9,b 10')
  await page.getByRole('columnheader', { name: 'Job' }).and(page.locator('[aria-sort=ascending]')).waitFor()
  await page.locator('select[name=sort]').selectOption('Most done first')
  await waitFor(async () => (await names()) === 'b 9,a,b 10')
  await page.getByRole('columnheader', { name: 'Progress' }).and(page.locator('[aria-sort=descending]')).waitFor()
  await row(page, 'b 10').getByRole('link').focus()
  await service.heartbeat(jobs[0]!.id, { processedCount: 90 })
  await holds(row(page, 'b 10'), '90 / 100')
  t.equal(await names(), 'b 9,a,b 10', 'a row does not run away from who is about to click on it')
  await waitFor(async () => (await names()) === 'b 10,b 9,a', { timeoutMs: 10_000 })
  t.equal(await page.evaluate(() => document.activeElement?.textContent), 'b 10', 'and takes the focus with it')
  t.match(page.url(), /sort=done/)
})

t.test('the result of a filter is not shown for another filter whose result could not be read', async t => {
  const own = await startService(t)
  const end = { secondsAgo: 100, took: 90, processed: 50, how: 'complete', body: {} } as const
  await finishedJob(own, { name: 'Went well', jobType: 'export', totalCount: 50 }, end)
  const { page, complaints } = await visit(t, browser, `${own.url}/?view=history`)
  await row(page, 'Went well').waitFor()
  await page.route('**/api/progress/jobs?*', route => route.abort())
  await page.getByRole('button', { name: 'Failed' }).click()
  await page.getByText('The jobs could not be read').waitFor()
  t.equal(await row(page, 'Went well').count(), 0)
  await page.unroute('**/api/progress/jobs?*')
  await page.getByRole('button', { name: 'Try now' }).click()
  await page.getByText('No job fits these filters').waitFor()
  await page.route('**/api/progress/jobs?*', route => route.abort())
  await page.getByRole('link', { name: 'Active', exact: true }).click()
  await holds(page.getByRole('complementary'), 'The service does not answer.')
  complaints.forgive(/net::ERR/)
})

t.test('of many workers the silent ones come first, and all are shown on request', async t => {
  const job = await service.createJob({ name: 'Crowd', jobType: 'crowd', totalCount: 10_000 })
  await service.call('POST', '/heartbeats', {
    heartbeats: Array.from({ length: 130 }, (_, index) => ({
      jobId: job.id,
      workerId: `pod-${String(index).padStart(3, '0')}`,
      processedCount: index,
    })),
  })
  await service.database.pool.query(
    `UPDATE job_progress SET heartbeat_at = now() - interval '10 minutes' WHERE job_id = $1 AND worker_id = 'pod-129'`,
    [job.id],
  )
  // A worker is judged only for a silence during which the service was well.
  await service.database.pool.query(`UPDATE service_processes SET healthy_since = now() - interval '1 day'`)
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  const rows = page.getByRole('region', { name: 'Workers' }).locator('tbody tr')
  await holds(rows.first(), /pod-129.*Silent/s)
  t.equal(await rows.count(), 100)
  await page.getByRole('button', { name: 'Show all 130' }).click()
  await waitFor(async () => (await rows.count()) === 130)
})

t.test('names, texts and stages fit on the page at any length, and no name or text is taken for markup', async t => {
  const job = await service.createJob({
    name: 'x'.repeat(200),
    jobType: 'y'.repeat(100),
    description: 'z'.repeat(900),
    stages: Array.from({ length: 32 }, (_, index) => ({ name: `stage ${index} ${'s'.repeat(60)}` })),
  })
  const markup = '<img src=x onerror=alert(1)>{name}'
  await service.heartbeat(job.id, {
    workerId: 'w'.repeat(200),
    stage: job.stages![3]!.name,
    message: markup.repeat(10),
  })
  await service.call('POST', `/jobs/${job.id}/fail`, {
    errorMessage: 'E'.repeat(2_000),
    errorStack: 'at '.repeat(3_000),
  })
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  for (const width of [1440, 640, 320]) {
    await page.setViewportSize({ width, height: 900 })
    for (const [address, ready] of [
      [`/jobs/${job.id}`, '.error'],
      ['/?view=history', '.history-table'],
      ['/statistics', '.statistics'],
      ['/notifications', '.empty'],
      [`/types?name=${'y'.repeat(100)}`, '.runs, .empty'],
      ['/?view=history&grouped=1', '.failure-groups'],
    ] as const) {
      await page.goto(service.url + address)
      await page.locator(ready).first().waitFor()
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      t.ok(overflow <= 0, `${address} at ${width}: ${overflow}`)
    }
  }
  for (const locale of ['de-DE', 'fr-FR']) {
    const { page: narrow } = await visit(t, browser, service.url, { locale, viewport: { width: 320, height: 900 } })
    await narrow.locator('.connection[data-state=live]').waitFor()
    const overflow = await narrow.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    t.ok(overflow <= 0, `the list in ${locale} at 320: ${overflow}`)
  }
  t.equal(await page.locator('img').count(), 0)
})

t.test('a unit of 30 letters stays in its column and in its row, whatever the width', async t => {
  const fields = { jobType: 'long unit', totalCount: 8_000_000_000, unit: 'W'.repeat(30) }
  const counted = await service.createJob({ ...fields, name: 'Counted '.repeat(20) })
  const ended = await service.createJob({ ...fields, name: 'Has counted' })
  await service.call('POST', `/jobs/${ended.id}/complete`, {})
  const { page } = await visit(t, browser, `${service.url}/?type=long+unit`)
  for (const width of [1280, 390, 320]) {
    await page.setViewportSize({ width, height: 900 })
    for (const [address, line] of [
      ['/?type=long+unit', '.row div.line'],
      ['/?view=history&type=long+unit', '.history-table [role=rowgroup]:not(.heading) div.line'],
    ] as const) {
      await page.goto(service.url + address)
      await page.locator(line).waitFor()
      const beyond = await page.locator(line).evaluate(line => {
        const place = line.getBoundingClientRect()
        return [...line.querySelectorAll('.amount')].filter(amount => {
          const { right, bottom } = amount.getBoundingClientRect()
          return right > amount.closest('.cell')!.getBoundingClientRect().right + 1 || bottom > place.bottom
        }).length
      })
      t.equal(beyond, 0, `${address} at ${width}`)
    }
    await page.goto(`${service.url}/jobs/${counted.id}`)
    await page.locator('.overview').waitFor()
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    t.ok(overflow <= 0, `its page at ${width}: ${overflow}`)
  }
})

t.test('a long line of a payload or a result is printed to its end', async t => {
  const job = await service.createJob({ name: 'Printed', jobType: 'print' })
  await service.call('POST', `/jobs/${job.id}/complete`, { resultSummary: { text: 'r'.repeat(3_000) } })
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  const result = page.locator('.code').filter({ hasText: 'rrr' })
  await result.waitFor()
  await page.emulateMedia({ media: 'print' })
  t.equal(await result.evaluate(code => code.scrollWidth - code.clientWidth), 0)
})

t.test('the page says so when a shown job is erased, and when a chart belongs to another release', async t => {
  const job = await runningJob(
    service,
    { name: 'Soon gone', jobType: 'gone', totalCount: 9 },
    { secondsAgo: 9, processed: 4 },
  )
  const context = await browser.newContext()
  t.teardown(() => context.close())
  // The list needs no chart; by the time that one is wanted, the service no longer has the file.
  await context.route(/\/dashboard\/chunk-/, async route => {
    const response = await route.fetch()
    return (await response.text()).includes('uplot') ? route.fulfill({ status: 404 }) : route.fulfill({ response })
  })
  const { page, complaints } = await openPage(t, context, `${service.url}/jobs/${job.id}`)
  await page.getByText('The chart could not be loaded: reload the page.').waitFor()
  await page.getByText('4 of 9').waitFor()
  await service.call('POST', `/jobs/${job.id}/complete`, {})
  await page.locator('.badge').getByText('Completed').waitFor()
  t.match(await page.title(), /^Soon gone · Headway ✓$/)
  await service.database.pool.query('DELETE FROM progress_jobs WHERE id = $1', [job.id])
  await page.getByText('There is no such job').waitFor({ timeout: 20_000 })
  complaints.forgive(/404/)
})
