import type { Locator, Page } from 'playwright-core'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { holdBack, openBrowser, shellOf, visit } from './browser.ts'

const MOST_BYTES = 110_000
/** Each is a request that costs a slow machine some milliseconds. */
const MOST_MODULES = 5

const browser = await openBrowser(t)
const service = await startService(t)

const row = (page: Page, name: string): Locator => page.getByRole('row').filter({ hasText: name })
const focused = (page: Page) => page.evaluate(() => document.activeElement?.textContent.trim())

t.test('the first load of the list, and of a job, is compressed and small, and is not loaded again', async t => {
  const job = await service.createJob({ name: 'Light', jobType: 'light', totalCount: 10 })
  await service.heartbeat(job.id, { processedCount: 4 })
  for (const [path, ready] of [
    ['/?type=light', '.row .bar'],
    [`/jobs/${job.id}`, 'canvas'],
  ] as const) {
    const { page, context } = await visit(t, browser, 'about:blank')
    const session = await context.newCDPSession(page)
    await session.send('Performance.enable', { timeDomain: 'threadTicks' })
    await session.send('Network.enable')
    const requests = new Map<string, string>()
    let bytes = 0
    const uncompressed: string[] = []
    session.on('Network.responseReceived', ({ requestId, response }) => {
      const { pathname } = new URL(response.url)
      requests.set(requestId, pathname)
      const isText = /javascript|css|html/.test(response.mimeType)
      if (isText && !/^br$/.test(response.headers['content-encoding'] ?? '')) uncompressed.push(pathname)
    })
    session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      if (!requests.get(requestId)?.startsWith('/api/')) bytes += encodedDataLength
    })
    await page.goto(service.url + path)
    await page.locator(ready).first().waitFor()
    const { metrics } = await session.send('Performance.getMetrics')
    const workMs = 1_000 * (metrics.find(({ name }) => name === 'TaskDuration')?.value ?? NaN)
    t.comment(`${path}: ${bytes} bytes, ${Math.round(workMs)} ms of work`)
    t.ok(bytes > 10_000 && bytes < MOST_BYTES, `${path}: ${bytes} bytes`)
    t.same(uncompressed, [])
    const cached: boolean[] = []
    page.on('response', response => {
      if (response.url().includes('/dashboard/')) cached.push(response.status() === 200)
    })
    bytes = 0
    await page.reload()
    await page.locator(ready).first().waitFor()
    t.ok(bytes < 3_000, `after a reload: ${bytes} bytes`)
    await session.send('Emulation.setCPUThrottlingRate', { rate: 4 })
    await page.reload()
    await page.locator(ready).first().waitFor()
    t.comment(`at a fourth of a CPU: ${Math.round(await page.evaluate(() => performance.now()))} ms`)
    await context.close()
  }
})

t.test('the page names all modules of its first load, so that none waits for another one', async t => {
  for (const path of ['/', `/jobs/${(await service.createJob({ name: 'Named' })).id}`]) {
    const { page } = await visit(t, browser, service.url + path)
    await page
      .locator(path === '/' ? '.row' : '.overview')
      .first()
      .waitFor()
    const [html, loaded] = await Promise.all([
      fetch(service.url + path, { headers: { accept: 'text/html' } }).then(response => response.text()),
      page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => ({ name }))),
    ])
    const modules = loaded.map(({ name }) => name.split('/').at(-1) ?? '').filter(name => name.endsWith('.js'))
    // The chart of a job comes later.
    const late = modules.filter(name => !html.includes(name))
    t.ok(late.length <= (path === '/' ? 0 : 1), late.join())
    t.ok(html.includes('rel="modulepreload"'))
    t.ok(modules.length - late.length <= MOST_MODULES, modules.join())
  }
})

/** Pages with which a visit may begin: the address, what they ask for first, and what shows the answer. */
const firstPages = (id: string) =>
  [
    ['/', /\/api\/progress\/stream/, '.row .title'],
    [`/jobs/${id}`, new RegExp(`/api/progress/jobs/${id}$`), '.overview .percent'],
  ] as const

t.test('the first requests for data wait for none of the modules that show it', async t => {
  const { id } = await service.createJob({ name: 'Asked at once' })
  for (const [path, asked, shown] of firstPages(id)) {
    const { page } = await visit(t, browser, 'about:blank')
    const release = await holdBack(page, await shellOf(service.url))
    let times = 0
    // Only the first one is answered: the page needs no other.
    await page.route(asked, async route => {
      times += 1
      if (times === 1) await route.continue()
    })
    const [answer] = await Promise.all([
      page.waitForResponse(response => asked.test(response.url())),
      page.goto(service.url + path, { waitUntil: 'commit' }),
    ])
    t.equal(answer.status(), 200)
    t.equal(await page.locator('header').count(), 0)
    release()
    await page.locator(shown).first().waitFor()
  }
})

t.test('a page whose data do not come is drawn without them', async t => {
  const { id } = await service.createJob({ name: 'Awaited' })
  for (const [path, held, shown] of firstPages(id)) {
    const { page } = await visit(t, browser, 'about:blank')
    const release = await holdBack(page, held)
    await page.goto(service.url + path)
    await page.locator('main .loading').waitFor()
    t.equal(await page.locator(shown).count(), 0)
    release()
    await page.locator(shown).first().waitFor()
  }
})

t.test('the first picture has the rows of the window, and nothing of what is closed', async t => {
  await Promise.all(Array.from({ length: 30 }, () => service.createJob({ name: 'One of many', jobType: 'many' })))
  const { page } = await visit(t, browser, 'about:blank')
  await page.addInitScript(() => {
    new MutationObserver((_, observer) => {
      const rows = document.querySelectorAll('.row').length
      if (rows === 0) return
      observer.disconnect()
      Object.assign(globalThis, { first: { rows, closed: document.querySelectorAll('dialog *').length } })
    }).observe(document, { childList: true, subtree: true })
  })
  await page.goto(`${service.url}/?type=many`)
  const most = Math.ceil(900 / 60)
  // Those below the window follow, for whoever scrolls.
  await waitFor(async () => (await page.locator('.row').count()) > most)
  const first = await page.evaluate(() => (globalThis as unknown as { first: { rows: number; closed: number } }).first)
  t.ok(first.rows > 0 && first.rows <= most, `${first.rows} rows`)
  t.equal(first.closed, 0)
})

t.test('a row is a link as a whole: a click opens the job, and a middle click opens it in a new tab', async t => {
  const job = await service.createJob({ name: 'Whole row', jobType: 'rows', totalCount: 10, cancellable: true })
  await service.heartbeat(job.id, { processedCount: 4, message: 'Somewhere in it' })
  const { page, context } = await visit(t, browser, `${service.url}/?type=rows`)
  const box = (await row(page, 'Whole row').locator('.cell.speed').boundingBox())!
  const [x, y] = [box.x + box.width / 2, box.y + 4] as const
  const [opened] = await Promise.all([context.waitForEvent('page'), page.mouse.click(x, y, { button: 'middle' })])
  t.match(opened.url(), new RegExp(`/jobs/${job.id}$`))
  await opened.close()
  await row(page, 'Whole row').getByRole('button', { name: 'Cancel Whole row' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Keep it as it is' }).click()
  await page.mouse.click(x, y)
  await page.getByRole('heading', { level: 1, name: 'Whole row' }).waitFor()
})

t.test('a click on a heading sorts by its column, and a second one ends that', async t => {
  for (const name of ['b', 'a', 'c']) await service.createJob({ name: `Head ${name}`, jobType: 'headings' })
  const { page } = await visit(t, browser, `${service.url}/?type=headings`)
  const names = async () => (await page.locator('.row .title a').allTextContents()).join()
  await waitFor(async () => (await names()) === 'Head c,Head a,Head b')
  const heading = page.getByRole('columnheader', { name: 'Job' })
  t.equal(await heading.getAttribute('aria-sort'), 'none')
  await heading.getByRole('button').click()
  await waitFor(async () => (await names()) === 'Head a,Head b,Head c')
  t.equal(await heading.getAttribute('aria-sort'), 'ascending')
  t.match(page.url(), /sort=name/)
  await heading.getByRole('button').click()
  await waitFor(async () => (await names()) === 'Head c,Head a,Head b')
  t.equal(await page.getByRole('columnheader', { name: 'Done' }).getByRole('button').count(), 0)
})

t.test(
  '/ finds by name, id and error, j and k move through rows, and ? shows the keys, unless they are off',
  async t => {
    const made = await Promise.all(
      ['one', 'two', 'three'].map(name => service.createJob({ name: `Key ${name}`, jobType: 'single', totalCount: 5 })),
    )
    const ended = await service.createJob({ name: 'Key ended', jobType: 'single' })
    await service.call('POST', `/jobs/${ended.id}/complete`, {})
    const { page } = await visit(t, browser, `${service.url}/?type=single&sort=name`)
    await row(page, 'Key two').first().waitFor()
    await page.keyboard.press('j')
    await waitFor(async () => (await focused(page)) === 'Key one')
    await page.keyboard.press('j')
    await waitFor(async () => (await focused(page)) === 'Key three')
    await page.keyboard.press('k')
    await waitFor(async () => (await focused(page)) === 'Key one')
    await page.keyboard.press('/')
    t.equal(await page.evaluate(() => document.activeElement?.getAttribute('name')), 'q')
    await page.keyboard.type(made[1]!.id.slice(-8))
    await waitFor(async () => (await page.locator('.row').count()) === 1)
    await row(page, 'Key two').waitFor()
    t.match(page.url(), /q=/, 'what is typed into a field is text')
    await page.keyboard.press('Control+a')
    await page.keyboard.type('j/?k')
    t.equal(await page.getByLabel('Filter by text').inputValue(), 'j/?k')
    t.equal(await page.getByRole('dialog').count(), 0)
    await page.getByRole('link', { name: 'Look among the finished ones' }).waitFor()
    await page.goto(`${service.url}/?view=history&type=single`)
    await row(page, 'Key ended').waitFor()
    await page.keyboard.press('j')
    await waitFor(async () => (await focused(page)) === 'Key ended')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { level: 1, name: 'Key ended' }).waitFor()
    await page.keyboard.press('?')
    const dialog = page.getByRole('dialog', { name: 'Keys' })
    await dialog.getByText('Find jobs by name, id or error').waitFor()
    await page.keyboard.press('j')
    t.ok(await dialog.isVisible(), 'keys do nothing behind a dialog')
    await dialog.getByLabel('Single keys do this').uncheck()
    await dialog.getByRole('button', { name: 'Close' }).click()
    await page.keyboard.press('?')
    t.equal(await page.getByRole('dialog').count(), 0)
    await page.getByRole('button', { name: 'Keys' }).click()
    await dialog.getByLabel('Single keys do this').check()
    await page.keyboard.press('Escape')
    await page.keyboard.press('/')
    await page.waitForFunction(() => document.activeElement?.getAttribute('name') === 'q')
    t.equal(new URL(page.url()).pathname, '/', 'a page without such a field leads to the list')
  },
)

t.test('the page of a job copies its link, and a card for other pages', async t => {
  const job = await service.createJob({ name: 'Copied', jobType: 'copied' })
  const { page, context } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: service.url })
  const copied = () => page.evaluate(() => navigator.clipboard.readText())
  await page.getByRole('button', { name: 'Copy link' }).click()
  await page.getByText('Copied', { exact: true }).last().waitFor()
  await waitFor(async () => (await copied()) === `${service.url}/jobs/${job.id}`)
  await page.getByRole('button', { name: 'Copy for your page' }).click()
  await waitFor(async () => (await copied()).includes('headway-job-card'))
  t.equal(
    await copied(),
    `<script type="module" src="${service.url}/elements.js"></script>\n<headway-job-card job-id="${job.id}"></headway-job-card>\n`,
  )
})

t.test('all workers of a job are on paper, however many the page shows', async t => {
  const job = await service.createJob({ name: 'Printed crew', jobType: 'printed', totalCount: 10_000 })
  await service.call('POST', '/heartbeats', {
    heartbeats: Array.from({ length: 130 }, (_, index) => ({
      jobId: job.id,
      workerId: `pod-${index}`,
      processedCount: 1,
    })),
  })
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  const rows = page.locator('job-workers tbody tr')
  await waitFor(async () => (await rows.count()) === 100)
  await page.emulateMedia({ media: 'print' })
  await waitFor(async () => (await rows.count()) === 130)
  await page.emulateMedia({ media: 'screen' })
  await waitFor(async () => (await rows.count()) === 100)
})
