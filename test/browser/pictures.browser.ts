import type { Locator, Page } from 'playwright-core'
import t from 'tap'
import { startService, type Service } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { openBrowser, visit } from './browser.ts'

const browser = await openBrowser(t)
const service = await startService(t)

interface Batch {
  id: string
  partitions: { id: string; name: string }[]
}

const makeBatch = async (to: Service, name: string, count: number): Promise<Batch> => {
  const partitions = Array.from({ length: count }, (_, index) => ({ name: `Part ${index + 1}`, totalCount: 100 }))
  const { body } = await to.call<Batch>('POST', '/jobs', { jobType: 'pictures', name, unit: 'rows', partitions })
  return body
}

const report = async (to: Service, ids: readonly string[], processedCount: number): Promise<void> => {
  const heartbeats = ids.map(jobId => ({ jobId, processedCount }))
  const reply = await to.call<{ results?: { code?: string }[] }>('POST', '/heartbeats', { heartbeats })
  const refused = reply.body.results?.find(({ code }) => code !== undefined)
  if (reply.status > 202 || refused) throw new Error(JSON.stringify(refused ?? reply.body))
}

/** Twelve partitions in all states: 1 failed, 2 is retried, 3 stalled, 4 completed, 5 to 9 run, 10 to 12 wait. */
const makeMixedBatch = async (name: string): Promise<Batch> => {
  const batch = await makeBatch(service, name, 12)
  const ids = batch.partitions.map(({ id }) => id)
  await report(service, ids.slice(0, 9), 50)
  const end = (index: number, how: string, body = {}) => service.call('POST', `/jobs/${ids[index]}/${how}`, body)
  await end(0, 'fail', { errorMessage: 'No more paper' })
  await end(1, 'fail', { errorMessage: 'No more ink' })
  await end(1, 'retry')
  await report(service, [ids[1]!], 20)
  await end(3, 'complete')
  await service.database.pool.query(`UPDATE progress_jobs SET liveness = 'stalled' WHERE id = $1`, [ids[2]])
  // It makes the batch anew from its partitions.
  await report(service, ids.slice(4, 9), 51)
  return batch
}

/** All rows are near enough to the window to be in the document. */
const TALL = { width: 1280, height: 2_000 }

const cell = (page: Page, name: string): Locator =>
  page.getByRole('link', { name: new RegExp(`^\u2068${name}\u2069, `) })

const rowNames = (page: Page): Promise<string[]> => page.locator('job-partitions .row .title a').allTextContents()

t.test('a batch is drawn with a cell for each partition, named by pointer and keys, opened by Enter', async t => {
  const batch = await makeMixedBatch('Drawn')
  const { page } = await visit(t, browser, `${service.url}/jobs/${batch.id}`)
  const cells = page.locator('job-partitions [data-cell]')
  await waitFor(async () => (await cells.count()) === 12)
  for (const [name, condition, label] of [
    ['Part 1', 'failed', 'Failed, 50%'],
    ['Part 2', 'running', 'Running, 20%'],
    ['Part 3', 'stalled', 'Stalled, 50%'],
    ['Part 4', 'completed', 'Completed, 100%'],
    ['Part 5', 'running', 'Running, 51%'],
    ['Part 12', 'pending', 'Pending, 0%'],
  ] as const) {
    t.match(await cell(page, name).getAttribute('aria-label'), label)
    t.equal(await cell(page, name).getAttribute('data-condition'), condition)
  }
  const looks = await cells.evaluateAll(all =>
    all.map(each => {
      const { borderRadius, borderStyle } = getComputedStyle(each)
      return [borderRadius, borderStyle, getComputedStyle(each, '::before').clipPath].join()
    }),
  )
  const shapes = [0, 2, 3, 4, 11].map(index => looks[index])
  t.equal(new Set(shapes).size, 5, 'failed, stalled, completed, running and pending differ by shape')
  const named = page.locator('job-partitions .cell-named')
  await cell(page, 'Part 1').hover()
  await named.filter({ hasText: /Part 1 · Failed · 50%.*No more paper/ }).waitFor()
  t.equal(await page.locator('.cell-mark[tabindex="0"]').count(), 1, 'Tab leads to one of them')
  await cell(page, 'Part 1').focus()
  await page.keyboard.press('End')
  await page.waitForFunction(() => document.activeElement?.getAttribute('aria-label')?.includes('Part 12'))
  await page.keyboard.press('ArrowLeft')
  await named.filter({ hasText: 'Part 11 · Pending' }).waitFor()
  await page.keyboard.press('Home')
  await page.keyboard.press('ArrowRight')
  await page.waitForFunction(() => document.activeElement?.getAttribute('aria-label')?.includes('Part 2\u2069'))
  await service.heartbeat(batch.partitions[1]!.id, { processedCount: 77 })
  await waitFor(async () => (await cell(page, 'Part 2').getAttribute('data-step')) === '7')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { level: 1, name: 'Part 2' }).waitFor()
})

t.test('partitions in trouble come first, a stretch of the bar filters, and headings and a field sort', async t => {
  const batch = await makeMixedBatch('Sorted')
  const { page } = await visit(t, browser, `${service.url}/jobs/${batch.id}`, { viewport: TALL })
  await page.locator('job-partitions .row').first().waitFor()
  t.same((await rowNames(page)).slice(0, 3), ['Part 1', 'Part 3', 'Part 2'])
  await page.locator('job-partitions').getByRole('button', { name: 'Needs attention 2' }).click()
  await waitFor(async () => (await page.locator('job-partitions .row').count()) === 2)
  t.equal(await page.locator('.cell-mark[data-faded]').count(), 10, 'the picture keeps the others in their places')
  const topOf = async (selector: string) => (await page.locator(selector).first().boundingBox())!.y
  t.ok(
    (await topOf('job-partitions .row')) < (await topOf('job-curves')),
    'those that were asked for stand above the curves',
  )
  await page.locator('job-partitions .outcomes [data-outcome=pending]').click()
  await waitFor(async () => (await rowNames(page)).join() === 'Part 10,Part 11,Part 12')
  t.match(page.url(), /partitions=pending/)
  await page.locator('job-partitions .outcomes [data-outcome=pending]').click()
  await waitFor(async () => (await page.locator('job-partitions .row').count()) === 12)
  // Partition 5 no longer advances, as the page will learn when the batch has changed.
  await service.database.pool.query(
    `UPDATE progress_jobs SET advanced_at = now() - interval '1 hour', updated_at = now(), revision = revision + 1 WHERE id = $1`,
    [batch.partitions[4]!.id],
  )
  await report(service, [batch.partitions[5]!.id], 52)
  await page.locator('job-partitions').getByRole('button', { name: 'Not advancing 1' }).click()
  await waitFor(async () => (await rowNames(page)).join() === 'Part 5')
  t.match(page.url(), /partitions=not_advancing/)
  await page.locator('job-partitions').getByRole('button', { name: 'All 12' }).click()
  await waitFor(async () => (await page.locator('job-partitions .row').count()) === 12)
  const partition = page.getByRole('columnheader', { name: 'Partition' })
  await partition.getByRole('button').click()
  await waitFor(async () => (await rowNames(page)).slice(0, 3).join() === 'Part 1,Part 2,Part 3')
  t.equal(await partition.getAttribute('aria-sort'), 'ascending')
  await page.locator('select[name=order]').selectOption('Least done first')
  await waitFor(async () => (await rowNames(page)).slice(0, 2).join() === 'Part 2,Part 1')
  t.match(page.url(), /order=done/)
  await page.reload()
  await waitFor(async () => (await rowNames(page))[0] === 'Part 2')
})

t.test(
  'a timeline has a line for each partition from start to end, with its wait and its earlier attempts',
  async t => {
    const batch = await makeMixedBatch('Over time')
    const { pool } = service.database
    const ids = batch.partitions.map(({ id }) => id)
    await pool.query(`UPDATE progress_jobs SET started_at = started_at - interval '100 seconds' WHERE id = ANY ($1)`, [
      [batch.id, ids[4]],
    ])
    await pool.query(
      `UPDATE job_events SET at = at - CASE type WHEN 'started' THEN interval '80 seconds' ELSE interval '60 seconds' END
     WHERE job_id = $1 AND attempt = 1`,
      [ids[1]],
    )
    const { page } = await visit(t, browser, `${service.url}/jobs/${batch.id}?order=index`)
    await page.getByRole('link', { name: 'Timeline' }).click()
    t.match(page.url(), /order=index&show=timeline/)
    const lane = (index: number) => page.locator('.timeline-table .row').nth(index)
    const part = (index: number, name: string) => lane(index).locator(`[data-part=${name}]`)
    await part(1, 'earlier').waitFor()
    const track = (await lane(1).locator('.track').boundingBox())!
    const share = async (locator: Locator) => {
      const box = (await locator.boundingBox())!
      return [(box.x - track.x) / track.width, box.width / track.width]
    }
    const [from = 0, length = 0] = await share(part(1, 'earlier'))
    t.ok(Math.abs(from - 0.2) < 0.1 && Math.abs(length - 0.2) < 0.1, `the first attempt: ${from} ${length}`)
    t.ok((await share(part(4, 'present')))[1]! > 0.9, 'the longest reaches over the whole')
    t.ok((await share(part(9, 'waiting')))[1]! > 0.9, 'one that waits is a dashed line')
    t.equal(await part(9, 'present').count(), 0)
    await lane(9).getByText('waiting').waitFor()
    t.match(await lane(3).locator('.track').textContent(), /Completed, since .*/)
    await lane(3).getByRole('link').click()
    await page.getByRole('heading', { level: 1, name: 'Part 4' }).waitFor()
  },
)

t.test('workers are drawn as well: who is silent, slow, or never advanced, and how speeds are spread', async t => {
  const job = await service.createJob({ name: 'Crew', jobType: 'pictures', totalCount: 100_000 })
  const now = Date.now()
  for (const share of [0, 0.5, 1]) {
    await service.call('POST', '/heartbeats', {
      heartbeats: Array.from({ length: 10 }, (_, index) => ({
        jobId: job.id,
        workerId: `pod-${index}`,
        reportedAt: new Date(now - 60_000 * (1 - share)).toISOString(),
        processedCount: index === 9 ? 0 : Math.floor(share * (index === 8 ? 60 : 6_000 + index)),
      })),
    })
  }
  await service.database.pool.query(
    `UPDATE job_progress SET heartbeat_at = now() - interval '10 minutes' WHERE job_id = $1 AND worker_id = 'pod-3'`,
    [job.id],
  )
  // A worker is judged only for a silence during which the service was well.
  await service.database.pool.query(`UPDATE service_processes SET healthy_since = now() - interval '1 day'`)
  await service.database.pool.query(
    `UPDATE job_progress SET created_at = now() - interval '10 minutes' WHERE job_id = $1`,
    [job.id],
  )
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  const crew = page.locator('job-workers')
  const choice = (name: string) => crew.getByRole('button', { name, exact: true })
  for (const name of ['All 10', 'Needs attention 3', 'Silent 1', 'Never advanced 1', 'Slow 1', 'Working 7'])
    await choice(name).waitFor()
  await crew.getByText(/^\s*Speeds from .+\/(s|min) to .+\/s, half of them above/).waitFor()
  const hint = page.locator('.overview').getByRole('link', { name: '1 of 10 workers is silent' })
  for (const time of ['first', 'second']) {
    await page.evaluate(() => scrollTo(0, 0))
    await hint.click()
    await page.waitForFunction(() => {
      const { top, bottom } = document.querySelector('job-workers')!.getBoundingClientRect()
      return top < 200 || bottom <= innerHeight
    })
    t.match(
      await crew.locator('tbody tr').allTextContents(),
      [/pod-3/],
      `the overview leads there, the ${time} time as well`,
    )
  }
  await choice('Never advanced 1').click()
  await waitFor(async () => (await crew.locator('tbody tr').count()) === 1)
  t.match(page.url(), /workers=idle/)
  t.match(await crew.locator('tbody tr').textContent(), /pod-9/)
  t.equal(await crew.locator('[data-faded]').count(), 9, 'the picture keeps the others in their places')
  await crew.getByRole('button', { name: 'pod-8' }).click()
  await page.waitForFunction(() => document.activeElement?.closest('tr')?.dataset['worker'] === 'pod-8')
  t.match(await crew.locator('tbody tr').first().textContent(), /pod-3/)
})

t.test(
  'the choices beside a picture are its legend: each has the look of its cells, in every scheme of colours',
  async t => {
    const batch = await makeMixedBatch('Legend')
    const { page } = await visit(t, browser, `${service.url}/jobs/${batch.id}`)
    const lookOf = (selector: string) =>
      page.locator(selector).evaluate(cell => {
        const [own, front] = [getComputedStyle(cell), getComputedStyle(cell, '::before')]
        const { borderTopColor, borderTopStyle, backgroundColor, borderRadius } = own
        return [borderTopColor, borderTopStyle, backgroundColor, borderRadius, front.clipPath, front.backgroundColor]
      })
    await page.locator('[data-cell]').nth(11).waitFor()
    const conditions = ['failed', 'stalled', 'running', 'pending', 'completed']
    for (const scheme of [{ colorScheme: 'light' }, { colorScheme: 'dark' }, { forcedColors: 'active' }] as const) {
      await page.emulateMedia(scheme)
      const samples = page.locator('.cell-choices .cell-mark')
      t.same(await samples.evaluateAll(all => all.map(each => (each as HTMLElement).dataset['condition'])), conditions)
      for (const condition of conditions) {
        const cell = `[data-condition=${condition}]`
        t.same(await lookOf(`.cell-choices ${cell}`), await lookOf(`.cells ${cell} >> nth=0`), condition)
      }
    }
    t.equal(await page.getByRole('button', { name: 'Failed 1', exact: true }).count(), 1, 'and its name')
  },
)

t.test('a thousand partitions fit on a screen, and changing all of them takes a tenth of the page at most', async t => {
  const own = await startService(t)
  const batch = await makeBatch(own, 'Thousand', 1_000)
  const ids = batch.partitions.map(({ id }) => id)
  const { page, context } = await visit(t, browser, `${own.url}/jobs/${batch.id}`, {
    viewport: { width: 1280, height: 900 },
  })
  const cells = page.locator('[data-cell]')
  await waitFor(async () => (await cells.count()) === 1_000)
  t.ok((await page.locator('.cells').boundingBox())!.height < 900 - 54)
  const session = await context.newCDPSession(page)
  await session.send('Performance.enable', { timeDomain: 'threadTicks' })
  const workMs = async (): Promise<number> => {
    const { metrics } = await session.send('Performance.getMetrics')
    return 1_000 * (metrics.find(({ name }) => name === 'TaskDuration')?.value ?? NaN)
  }
  const all = (selector: string) =>
    page.waitForFunction(wanted => document.querySelectorAll(wanted).length === 1_000, selector, { polling: 200 })
  await report(own, ids, 1)
  await all('[data-cell][data-condition=running]')
  const before = await workMs()
  const startMs = Date.now()
  const rounds = 4
  for (let round = 1; round <= rounds; round += 1) {
    await report(own, ids, 5 * round)
    await all(`.cell-mark[aria-label$=", ${5 * round}%"]`)
  }
  // By the thread's own time, because others share this machine.
  const work = (await workMs()) - before
  const share = work / (Date.now() - startMs)
  t.comment(`${Math.round(work / rounds)} ms of work for each change of 1,000 partitions, ${Math.round(100 * share)} %`)
  t.ok(share < 0.1, `${share}`)
  await page.setViewportSize({ width: 390, height: 844 })
  await waitFor(async () => (await page.locator('.cells').boundingBox())!.width < 390)
  t.ok((await page.locator('.cells').boundingBox())!.height < 1_000)
})
