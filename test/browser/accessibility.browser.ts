import type { RunOptions } from 'axe-core'
import type { Locator } from 'playwright-core'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import type { Service } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { EVERYTHING, violations } from './axe.ts'
import { openBrowser, visit } from './browser.ts'
import { finishedJob, runningJob, work } from './fixtures.ts'
import { makeSampleDestinations, SEALING } from './sample-destinations.ts'
import { makeSampleJobs } from './sample-jobs.ts'

/** Dark and light differ in nothing else. */
const COLOURS: RunOptions = { ...EVERYTHING, runOnly: ['color-contrast', 'link-in-text-block'] }

const browser = await openBrowser(t)

t.test('axe finds nothing wrong with any page, light or dark, wide or narrow', async t => {
  const service = await startService(t, SEALING)
  const { featured, failed, batch, proposals } = await makeSampleJobs(service)
  await makeSampleDestinations(service)
  const empty = await startService(t)
  const locked = await startService(t, { AUTH_JWT_SECRET: SECRET })
  await mint()
  const pages: [name: string, url: string, ready: string][] = [
    ['jobs', service.url, '.row'],
    ['a job', `${service.url}/jobs/${featured.id}`, 'canvas'],
    ['a failed job', `${service.url}/jobs/${failed.id}`, '.error'],
    ['a batch', `${service.url}/jobs/${batch.id}`, '.row'],
    ['its timeline', `${service.url}/jobs/${batch.id}?show=timeline`, '.timeline-table'],
    ['stages', `${service.url}/jobs/${proposals.id}`, '.stages'],
    ['history', `${service.url}/?view=history`, '.history-table'],
    ['statistics', `${service.url}/statistics`, '.statistics'],
    ['notifications', `${service.url}/notifications`, '.destination'],
    ['no notifications', `${empty.url}/notifications`, '.empty'],
    ['no jobs', empty.url, '.empty'],
    ['no page', `${empty.url}/jobs/nothing`, '.empty'],
    ['token', locked.url, '.token-form'],
  ]
  for (const width of [1440, 390]) {
    const { page, complaints } = await visit(t, browser, service.url, {
      viewport: { width, height: 900 },
      reducedMotion: 'reduce',
    })
    const check = async (name: string) => {
      await page.emulateMedia({ colorScheme: 'light' })
      await page.locator('html[data-appearance=light]').waitFor()
      t.same(await violations(page, EVERYTHING), [], `${name}, light, ${width}`)
      await page.emulateMedia({ colorScheme: 'dark' })
      await page.locator('html[data-appearance=dark]').waitFor()
      t.same(await violations(page, COLOURS), [], `${name}, dark, ${width}`)
    }
    for (const [name, url, ready] of pages) {
      await page.goto(url)
      await page.locator(ready).first().waitFor()
      if (name === 'its timeline') {
        await page.locator('.timeline-table').evaluate(table => table.scrollIntoView())
        await page.locator('.row .lane').first().waitFor()
      }
      if (name === 'jobs') await page.getByRole('button', { name: 'Show the partitions of Reindex products' }).click()
      await check(name)
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      t.ok(overflow <= 0, `${name} is not wider than the window: ${overflow}`)
    }
    await page.goto(`${service.url}/jobs/${featured.id}`)
    await page.getByRole('button', { name: 'Cancel' }).click()
    await check('the dialog')
    complaints.forgive(/status of 40\d/)
  }
})

/** Jobs whose names, numbers, units and times are as long as they come. */
const makeLongJobs = async (service: Service) => {
  const jobType = 'synchronisation:contacts'
  const name = 'Import supplier price lists of autumn, all countries'
  const stuck = await runningJob(
    service,
    { jobType, name: `${name} 1`, totalCount: 880_000, unit: 'records', cancellable: true },
    { secondsAgo: 90_000, processed: 770_000, message: 'Waiting for the server' },
  )
  const fast = { jobType, name: `${name} 2`, totalCount: 888_800_000_000_000, unit: 'bytes' }
  await runningJob(service, fast, { secondsAgo: 86_000, processed: 444_000_000_000_000, workers: 3 })
  const { body } = await service.call<{ id: string; partitions: { id: string }[] }>('POST', '/jobs', {
    jobType,
    name: `${name} 3`,
    unit: 'records',
    partitions: Array.from({ length: 12 }, (_, index) => ({ name: `${name} ${index}`, totalCount: 99_000 })),
  })
  const [first = '', second = '', third = ''] = body.partitions.map(({ id }) => id)
  for (const id of [first, second, third]) await work(service, id, { secondsAgo: 80_000, processed: 20_000 })
  await service.call('POST', `/jobs/${first}/fail`, { errorMessage: 'No more paper' })
  await service.database.pool.query(`UPDATE progress_jobs SET liveness = 'stalled' WHERE id = $1`, [second])
  await service.heartbeat(third, { processedCount: 21_000 })
  await service.database.pool.query(
    `UPDATE progress_jobs SET advanced_at = now() - interval '86000 seconds', started_at = now() - interval '86001 seconds' WHERE id = $1`,
    [stuck.id],
  )
  const end = { secondsAgo: 9, took: 60, processed: 9 }
  const ended = { jobType, name: `${name} 4`, totalCount: 900 }
  await finishedJob(service, ended, { ...end, how: 'complete' })
  await finishedJob(service, ended, {
    ...end,
    how: 'fail',
    body: { errorMessage: 'No more paper\n    at print (a.js:1:1)' },
  })
  return { batchId: body.id, workingId: third }
}

/** The shown elements that are cut off or reach out of their container. */
const cutOff = (elements: Locator, within: string): Promise<string[]> =>
  elements.evaluateAll((all, within) => {
    const isCut = (element: Element) => {
      const { width, right } = element.getBoundingClientRect()
      const place = element.closest(within)?.getBoundingClientRect()
      const isWider = element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0
      return (
        width > 1 && (isWider || element.scrollHeight > element.clientHeight + 3 || (place && right > place.right + 1))
      )
    }
    return all.filter(isCut).map(element => `${element.getAttribute('class') ?? ''}: ${element.textContent.trim()}`)
  }, within)

t.test('in every language, at 1280 and at 390 pixels, nothing of a row is cut off or lies over the next', async t => {
  const service = await startService(t)
  const { batchId, workingId } = await makeLongJobs(service)
  let processedCount = 21_000
  for (const locale of ['en-US', 'de-DE', 'fr-FR']) {
    for (const width of [1280, 390]) {
      // The batch goes on, however long the pages take.
      await service.heartbeat(workingId, { processedCount: (processedCount += 1) })
      const { page, context } = await visit(t, browser, service.url, { locale, viewport: { width, height: 900 } })
      const wholes = page.locator('.row .badge, .row .amount, .row .cell.speed, .row .cell.left, .heading .cell')
      await page.locator('.row .badge').nth(2).waitFor()
      t.same(await cutOff(wholes, '.cell'), [], `${locale} ${width}`)
      t.same(await cutOff(page.locator('.row .title a, .recent .names a'), '.names'), [], `names, ${locale} ${width}`)
      await page.goto(`${service.url}/jobs/${batchId}`)
      await page.locator('canvas').first().waitFor()
      await page.locator('job-partitions virtual-rows').evaluate(rows => rows.scrollIntoView())
      await page.locator('job-partitions .row .badge').first().waitFor()
      t.same(await cutOff(wholes, '.cell'), [], `partitions, ${locale} ${width}`)
      const overlaps = await page
        .locator('job-partitions .row')
        .evaluateAll(rows =>
          rows.flatMap((row, index) =>
            [...row.querySelectorAll('.cell > *, .amount')].filter(
              part =>
                part.getBoundingClientRect().bottom > (rows[index + 1]?.getBoundingClientRect().top ?? Infinity) + 1,
            ),
          ),
        )
      t.same(overlaps, [], `rows, ${locale} ${width}`)
      const line = page.locator('job-partitions .row .line').first()
      const rowHeight = await page.evaluate(() => {
        const [first, second] = document.querySelectorAll('job-partitions .row')
        return (second?.getBoundingClientRect().top ?? 0) - (first?.getBoundingClientRect().top ?? 0)
      })
      t.equal(
        (await line.boundingBox())?.height,
        rowHeight,
        `what separates rows stands between them, ${locale} ${width}`,
      )
      await page.goto(`${service.url}/statistics`)
      await page.locator('.statistics tbody th').first().waitFor()
      const hidden = page.locator('.statistics tbody').locator('th, td')
      t.same(await cutOff(hidden, '.scroller'), [], `statistics, ${locale} ${width}`)
      await context.close()
    }
  }
})

t.test('at 390 pixels nothing scrolls sideways, and the cells of tables name their columns', async t => {
  const service = await startService(t, SEALING)
  const { featured, failed, batch } = await makeSampleJobs(service)
  await makeSampleDestinations(service)
  const fresh = await startService(t)
  const pages: [url: string, ready: string][] = [
    [service.url, '.row'],
    [`${service.url}/jobs/${featured.id}`, 'canvas'],
    [`${service.url}/jobs/${failed.id}`, '.error'],
    [`${service.url}/jobs/${batch.id}`, 'job-partitions .choice'],
    [`${service.url}/?view=history`, '.history-table'],
    [`${service.url}/statistics`, '.statistics tbody th'],
    [`${service.url}/types?name=import:products`, 'statistics-chart'],
    [`${service.url}/notifications`, '.destination'],
    [fresh.url, '.tour'],
  ]
  for (const locale of ['de-DE', 'fr-FR']) {
    const { page } = await visit(t, browser, service.url, { locale, viewport: { width: 390, height: 844 } })
    for (const [url, ready] of pages) {
      await page.goto(url)
      await page.locator(ready).first().waitFor()
      await page.locator('main details').evaluateAll(all => {
        for (const details of all) details.toggleAttribute('open', true)
      })
      if (url.endsWith('/notifications')) {
        await page
          .getByRole('button', { name: /^(Zustellungen|Envois)$/ })
          .nth(1)
          .click()
        await page.locator('destination-deliveries tbody tr').first().waitFor()
        t.equal(await page.locator('destination-deliveries tbody td:not([data-label])').count(), 0)
      }
      const sideways = await page.locator('body *').evaluateAll(all =>
        all
          .filter(element => /auto|scroll/.test(getComputedStyle(element).overflowX))
          .filter(element => element.scrollWidth > element.clientWidth + 1)
          .map(element => `${element.localName} ${element.getAttribute('class')}`),
      )
      t.same(sideways, [], `${url} ${locale}`)
      t.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${url} ${locale}`)
    }
  }
})

t.test('with forced colours, bars, outcomes and selections look different from each other', async t => {
  const service = await startService(t)
  await makeLongJobs(service)
  const { page } = await visit(t, browser, service.url, { forcedColors: 'active' })
  await page.locator('.row .bar').first().waitFor()
  const look = (selector: string) =>
    page
      .locator(selector)
      .first()
      .evaluate(element => {
        const { backgroundColor, backgroundImage, borderBottomWidth, borderBottomStyle } = getComputedStyle(element)
        return { ground: `${backgroundColor} ${backgroundImage}`, border: `${borderBottomWidth} ${borderBottomStyle}` }
      })
  t.not((await look('.bar .fill')).ground, (await look('.bar')).ground, 'how far a bar is')
  t.equal((await look('.bar')).border, '1px solid', 'where it ends')
  t.match((await look('.bar[data-condition=not_advancing] .fill')).ground, /gradient/, 'its stripes')
  t.not((await look('.tabs a[aria-current]')).ground, (await look('.tabs a:not([aria-current])')).ground, 'the tab')
  t.equal((await look('.top nav a[aria-current]')).border, '3px solid', 'the page')
  t.not(
    (await look('.choice[aria-pressed=true]')).ground,
    (await look('.choice[aria-pressed=false]')).ground,
    'the filter',
  )
  await page.goto(`${service.url}/statistics`)
  await page.locator('.outcomes > span').first().waitFor()
  const grounds = await Promise.all(
    ['completed', 'failed', 'cancelled'].map(outcome => look(`.swatch[data-outcome=${outcome}]`)),
  )
  t.equal(new Set(grounds.map(({ ground }) => ground)).size, 3)
})

t.test('paper has every row of a list that is longer than the window', async t => {
  const service = await startService(t)
  await service.createJob({ name: 'Only one' })
  await service.database.pool.query(
    `INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds)
     SELECT tenant_id, 'many', 'Job ' || n, 0 FROM progress_jobs, generate_series(1, 149) n`,
  )
  const { page } = await visit(t, browser, service.url)
  await page.getByRole('button', { name: 'All 150' }).waitFor()
  t.ok((await page.locator('.row').count()) < 60)
  await page.evaluate(() => {
    const printed = { rows: 0 }
    Object.assign(globalThis, { printed })
    addEventListener('beforeprint', () => (printed.rows = document.querySelectorAll('.row').length))
  })
  await page.pdf()
  t.equal(await page.evaluate(() => (globalThis as unknown as { printed: { rows: number } }).printed.rows), 150)
  t.ok((await page.locator('.row').count()) < 60, 'and on the screen few again')
  await page.emulateMedia({ media: 'print' })
  await page.waitForFunction(() => document.querySelectorAll('.row').length === 150)
  const bottoms = await page.locator('.row').evaluateAll(rows => rows.map(row => row.getBoundingClientRect().top))
  t.equal(new Set(bottoms).size, 150, 'each at a place of its own')
})

t.test('paper has all partitions of a batch, and of an unfolded one those that have been read', async t => {
  const service = await startService(t)
  const partitions = Array.from({ length: 230 }, (_, index) => ({ name: `Part ${index}` }))
  const batch = await service.createJob({ name: 'Many parts', partitions })
  const { page } = await visit(t, browser, `${service.url}/jobs/${batch.id}`)
  await page.getByRole('row').filter({ hasText: 'Part 0' }).waitFor()
  const listen = () =>
    page.evaluate(() => {
      const printed: string[] = []
      Object.assign(globalThis, { printed })
      addEventListener('beforeprint', () => printed.push(document.querySelector('virtual-rows')?.textContent ?? ''))
    })
  const printed = async () => {
    await page.pdf()
    return page.evaluate(() => (globalThis as unknown as { printed: string[] }).printed.at(-1) ?? '')
  }
  await listen()
  const whole = await printed()
  t.match(whole, /Part 0\b[^]*Part 229\b/)
  t.notMatch(whole, /not on this paper|Loading/)
  await page.goto(service.url)
  await page.getByRole('button', { name: 'Show the partitions of Many parts' }).click()
  await page.getByRole('row').filter({ hasText: 'Part 0' }).waitFor()
  await listen()
  const first = await printed()
  t.match(first, /Part 99\b[^]*130 more rows are not on this paper/)
  t.notMatch(first, /Loading/)
  await waitFor(async () => {
    const next = await printed()
    return next.includes('Part 229') && !next.includes('not on this paper')
  })
})
