import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import type { HeadwayClient } from '../../src/browser-client/types.ts'
import { startFront, streamsSeen } from '../helpers/front.ts'
import { startService } from '../helpers/service.ts'
import { mint, SECRET, secondsFromNow } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { openBrowser, openPage, visit } from './browser.ts'
import { work } from './fixtures.ts'
import { bundle, startHost } from './host.ts'
import { openWindow } from './window.ts'
import type { WindowTab } from './window.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const violations = async (page: Page): Promise<string[]> => {
  // Through the debugger, which the policy of the page does not bind.
  await page.evaluate(AXE)
  const results = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run: () => Promise<AxeResults> } }).axe.run(),
  )
  return results.violations.flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.html.slice(0, 200)}`))
}

const browser = await openBrowser(t)

/** A service behind a front, and a web site that it lets in. */
const startWorld = async (t: Test, settings: Record<string, string> = {}) => {
  const host = await startHost(t)
  const service = await startService(t, { CORS_ORIGIN: host.url, LIVE_KEEPALIVE_SECONDS: '1', ...settings })
  const front = await startFront(t, service.url)
  return { host, service, front }
}

/** A page that follows everything, with its client at `window.headway`. */
const clientScript = (service: string, more = ''): string =>
  `import { createClient } from '${service}/elements.js'\nwindow.headway = createClient({ url: '${service}'${more} })`

type HeadwayWindow = Window & { headway: HeadwayClient }

const until = (page: Page, connection: string) =>
  page.waitForFunction(
    expected => (globalThis as unknown as Partial<HeadwayWindow>).headway?.connection === expected,
    connection,
  )

const percentOf = (page: Page, id: string) =>
  page.evaluate(id => (globalThis as unknown as HeadwayWindow).headway.job(id)?.progressPercent, id)

t.test(
  'three lines of HTML show the running jobs in a page of another origin, and send events to its window',
  async t => {
    const { host, service, front } = await startWorld(t)
    const { url } = front
    const jobs = []
    for (const name of ['Export', '<img src=x onerror=alert(1)>', 'Import']) {
      jobs.push(await service.createJob({ name, totalCount: 200, cancellable: true }))
    }
    const last = jobs[2]!
    await service.heartbeat(last.id, { processedCount: 84, message: 'Row <b>84</b>' })
    host.page('/plain', {
      service: url,
      body: `<script type="module" src="${url}/elements.js"></script>
      <headway-top-bar></headway-top-bar>
      <p><headway-progress job-id="${last.id}"></headway-progress></p>
      <headway-job-card job-id="${last.id}"></headway-job-card>
      <headway-job-card job-id="0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55"></headway-job-card>`,
      script: `window.heard = []
      for (const type of ['update', 'complete', 'error', 'cancelled']) {
        addEventListener('progress:' + type, ({ detail }) => heard.push([type, detail]))
      }`,
    })
    const { page } = await visit(t, browser, `${host.url}/plain`)
    const topBar = page.locator('headway-top-bar')
    const toggle = topBar.getByRole('button', { name: '3 operations running' })
    await toggle.waitFor()
    t.match(await toggle.textContent(), /Import\u2069 \(42%\)/)
    t.equal(await toggle.getAttribute('aria-expanded'), 'false')
    t.equal(await topBar.locator('headway-job-card').count(), 0)

    const bar = page.locator('headway-progress').getByRole('progressbar', { name: 'Progress of Import' })
    t.same([await bar.getAttribute('aria-valuenow'), await bar.getAttribute('aria-valuetext')], ['42', '42%'])
    const card = page.locator('main > headway-job-card').first()
    t.match(await card.locator('.card').innerText(), /Import[^]*Running[^]*Row <b>84<\/b>[^]*84 of 200/)
    await page.locator('main > headway-job-card').last().getByText('There is no such job').waitFor()

    // With the keyboard alone.
    await toggle.focus()
    await page.keyboard.press('Enter')
    await topBar.locator('headway-job-card').nth(2).waitFor()
    t.match(
      await topBar.locator('headway-job-card .name').nth(1).innerText(),
      /<img src=x onerror=alert\(1\)>/,
      'a name is text',
    )
    t.same(await violations(page), [])
    await page.reload()
    await topBar.locator('headway-job-card').nth(2).waitFor()
    t.equal(await toggle.getAttribute('aria-expanded'), 'true', 'it remembers')

    await topBar.getByRole('button', { name: 'Cancel Import' }).click()
    const question = topBar.getByRole('group', { name: 'Cancel Import?' })
    t.equal(
      await question.getByRole('button', { name: 'No' }).evaluate(isFocused),
      true,
      'who presses twice cancels nothing',
    )
    t.same(await violations(page), [])
    await page.keyboard.press('Escape')
    await question.waitFor({ state: 'detached' })
    t.equal((await service.job(last.id)).cancelRequestedAt, null)
    await page.keyboard.press('Enter')
    await question.getByRole('button', { name: 'Yes, cancel' }).click()
    await topBar.getByText('Cancelling').waitFor()
    t.equal((await service.job(last.id)).cancelRequestedAt === null, false)
    await topBar.getByRole('button', { name: 'Cancel <img' }).focus()
    await service.call('POST', `/jobs/${last.id}/cancelled`)
    await service.call('POST', `/jobs/${jobs[1]!.id}/complete`)
    await service.call('POST', `/jobs/${jobs[0]!.id}/fail`, { errorMessage: 'disk full' })
    await topBar.getByRole('button', { name: '3 operations finished' }).waitFor()
    await page.waitForFunction(() => (globalThis as unknown as { heard: unknown[] }).heard.length >= 7)
    const heard = await page.evaluate(() => (globalThis as unknown as { heard: [string, { jobId: string }][] }).heard)
    const of = (id: string) => heard.filter(([, detail]) => detail.jobId === id)
    t.match(of(last.id).at(-2)?.[1], {
      jobId: last.id,
      jobType: last.jobType,
      name: 'Import',
      progressPercent: 42,
      processedCount: 84,
      totalCount: 200,
      status: 'cancelled',
    })
    t.same(
      of(last.id).map(([type]) => type),
      ['update', 'update', 'cancelled'],
      'once, though three elements follow it',
    )
    t.same(of(jobs[1]!.id).at(-1)?.[0], 'complete')
    t.match(of(jobs[0]!.id).at(-1), ['error', { errorMessage: 'disk full' }])
    await topBar.getByRole('status').filter({ hasText: 'Export: failed' }).first().waitFor()
    t.equal(await page.evaluate(() => document.activeElement?.localName), 'headway-top-bar', 'the focus is not lost')
    t.same(await violations(page), [])
  },
)

const isFocused = (element: Element) => (element.getRootNode() as ShadowRoot).activeElement === element

t.test('a finished job stays in the bar until it is dismissed, and a failed job can be retried in the bar', async t => {
  const { host, service, front } = await startWorld(t)
  host.page('/failed', {
    service: front.url,
    body: `<script type="module" src="${front.url}/elements.js"></script><headway-top-bar></headway-top-bar>`,
  })
  const { page } = await visit(t, browser, `${host.url}/failed`)
  const topBar = page.locator('headway-top-bar')
  const names = ['Import', 'Export', 'Report', 'Backup']
  const [first, second, third, done] = await Promise.all(names.map(name => service.createJob({ name })))
  await topBar.getByRole('button', { name: '4 operations running' }).waitFor()
  for (const job of [first!, second!, third!]) {
    await service.heartbeat(job.id)
    await service.call('POST', `/jobs/${job.id}/fail`, { errorMessage: 'disk full' })
  }
  await service.call('POST', `/jobs/${done!.id}/complete`)
  const toggle = topBar.getByRole('button', { name: '4 operations finished' })
  await toggle.waitFor()
  const heights = () =>
    topBar.evaluate(({ shadowRoot }) =>
      ['.bar', '.summary'].map(part => Math.round(shadowRoot!.querySelector(part)!.getBoundingClientRect().height)),
    )
  const [whole, summary] = await heights()
  t.ok(whole! - summary! <= 1, 'a folded list takes no room')
  await toggle.click()
  t.same(await violations(page), [])
  await topBar.locator('li').filter({ hasText: 'Import' }).getByRole('button', { name: 'Dismiss' }).click()
  await topBar.getByRole('button', { name: '3 operations finished' }).waitFor()
  await topBar.getByRole('button', { name: 'Retry Export' }).click()
  await topBar.getByRole('button', { name: '1 operation running' }).waitFor()
  t.match(await service.job(second!.id), { status: 'pending', attempt: 2 })

  await service.age(third!.id, 45)
  await service.age(done!.id, 45)
  await page.reload()
  await topBar.locator('li').filter({ hasText: 'Report' }).getByText('disk full').waitFor()
  t.equal(
    await topBar.locator('li').count(),
    2,
    'what was dismissed stays so, and only a failure is there for a minute',
  )
})

t.test('an element has the same height before its job has come, while the job runs, and after its end', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ name: 'Import', totalCount: 4 })
  host.page('/room', {
    service: front.url,
    body: `<script type="module" src="${front.url}/elements.js"></script>
      <headway-job-card job-id="${job.id}"></headway-job-card><headway-progress job-id="${job.id}"></headway-progress>
      <headway-progress job-id="${job.id}" plain></headway-progress>`,
    script: `window.seen = new Set()
      const look = () => {
        const all = [...document.querySelectorAll('main > *')].filter(element => element.localName.startsWith('headway'))
        if (all[0]?.shadowRoot?.querySelector('.card')) seen.add(all.map(each => each.getBoundingClientRect().height).join())
        requestAnimationFrame(look)
      }
      look()`,
  })
  const { page } = await visit(t, browser, `${host.url}/room`)
  const card = page.locator('headway-job-card')
  await card.getByText('Pending').waitFor()
  await service.heartbeat(job.id, { processedCount: 1, message: 'Row 1' })
  await card.getByText('Row 1').waitFor()
  await service.call('POST', `/jobs/${job.id}/complete`)
  await card.getByText('Completed').waitFor()
  const seen = await page.evaluate(() => [...(globalThis as unknown as { seen: Set<string> }).seen])
  t.equal(seen.length, 1, seen.join(' '))
  t.ok(seen[0]!.split(',').every(height => Number(height) > 5))
})

t.test(
  'a card of a batch says how many parts are silent or have failed, and keeps its speed and time left',
  async t => {
    const { host, service, front } = await startWorld(t)
    const { body } = await service.call<{ id: string; partitions: { id: string }[] }>('POST', '/jobs', {
      jobType: 'batch',
      name: 'Batch',
      partitions: Array.from({ length: 4 }, (_, index) => ({ name: `Part ${index}`, totalCount: 100 })),
    })
    const [first = '', second = '', third = ''] = body.partitions.map(({ id }) => id)
    for (const id of [first, second, third]) await work(service, id, { secondsAgo: 60, processed: 20 })
    await service.call('POST', `/jobs/${first}/fail`, { errorMessage: 'No more paper' })
    await service.database.pool.query(`UPDATE progress_jobs SET liveness = 'stalled' WHERE id = $1`, [second])
    await service.heartbeat(third, { processedCount: 21 })
    host.page('/batch', {
      service: front.url,
      body: `<script type="module" src="${front.url}/elements.js"></script>
      <headway-job-card job-id="${body.id}"></headway-job-card>`,
    })
    const { page } = await visit(t, browser, `${host.url}/batch`)
    const card = page.locator('headway-job-card')
    await card.getByText('1 of 2 running parts is stalled').waitFor()
    await card.getByText('1 of 4 parts failed').waitFor()
    await card.locator('[part=rate]').waitFor()
    t.same(await violations(page), [])
  },
)

t.test('a card says that a job is at risk, and how long such jobs usually take when this one takes longer', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ name: 'Import', finishBy: '2099-01-01T00:00:00Z' })
  await service.heartbeat(job.id, { processedCount: 42 })
  await service.database.pool.query(
    `UPDATE progress_jobs SET deadline = 'at_risk', unusual = true, expected_seconds = 750, long_seconds = 1125 WHERE id = $1`,
    [job.id],
  )
  host.page('/late', {
    service: front.url,
    body: `<script type="module" src="${front.url}/elements.js"></script>
      <headway-job-card job-id="${job.id}"></headway-job-card>`,
  })
  const { page } = await visit(t, browser, `${host.url}/late`)
  const card = page.locator('headway-job-card')
  await card.getByText('At risk of being late').waitFor()
  await card.getByText('Longer than usual (usually 13 min)').waitFor()
  t.same(await violations(page), [])
})

t.test('a card shows the range of its time left to the pointer, the keyboard and screen readers', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ name: 'Import', totalCount: 100 })
  await service.heartbeat(job.id, { processedCount: 42 })
  const estimate = (seconds: number, spread: number) =>
    service.database.pool.query(
      `UPDATE progress_jobs SET eta_seconds = $2, eta_source = 'rate', eta_spread = $3, advanced_at = now(), updated_at = now(),
         revision = revision + 1 WHERE id = $1`,
      [job.id, seconds, spread],
    )
  await estimate(725, 0.3)
  host.page('/range', {
    service: front.url,
    body: `<script type="module" src="${front.url}/elements.js"></script>
      <div dir="rtl"><headway-job-card job-id="${job.id}"></headway-job-card></div>`,
  })
  const { page, complaints } = await visit(t, browser, `${host.url}/range`)
  complaints.forgive(/ERR_/)
  const card = page.locator('headway-job-card')
  const left = card.getByRole('button', {
    name: /^1[23] min remaining ?, about 1[23] minutes, probably from \d minutes to \d+ min/,
  })
  await left.waitFor()
  const range = card.locator('[part=eta-range]')
  t.equal(await range.isVisible(), false)
  await left.hover()
  await range.filter({ visible: true }).waitFor()
  t.match(await range.textContent(), /^about 1[23] min \(8 to 18\)$/)
  t.equal(
    await range.locator('bdi').evaluate(each => getComputedStyle(each).direction),
    'ltr',
    'also in a page that is written rtl',
  )
  const within = await range.evaluate(each => {
    const [inner, outer] = [each, each.closest('.card')!].map(one => one.getBoundingClientRect())
    return inner!.left >= outer!.left && inner!.right <= outer!.right && inner!.top >= outer!.top
  })
  t.ok(within, 'it stays within its card, where nothing cuts it off')
  await page.mouse.move(0, 0)
  await range.filter({ visible: true }).waitFor({ state: 'detached' })
  await page.keyboard.press('Tab')
  t.equal(await left.evaluate(isFocused), true)
  await range.filter({ visible: true }).waitFor()
  t.same(await violations(page), [])
  await page.keyboard.press('Escape')
  await range.filter({ visible: true }).waitFor({ state: 'detached' })
  t.equal(await left.evaluate(isFocused), true)

  // One number is enough: there is nothing to press, and the focus is not lost.
  await estimate(725, 0.01)
  await card.getByRole('button').waitFor({ state: 'detached' })
  await card.getByText(/^1[23] min remaining$/).waitFor()
  t.equal(await card.locator('.card').evaluate(isFocused), true)
  await estimate(725, 0.3)
  await card.getByRole('button').waitFor()
  front.target = null
  front.cut()
  await card.getByText(/^as of/).waitFor()
  t.equal(await card.getByRole('button').count(), 0, 'what is out of date has no time left')
})

t.test('an element whose connection is lost is dim, does not move, and says when its job was up to date', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ name: 'Import', totalCount: 100 })
  await service.heartbeat(job.id, { processedCount: 42, etaSeconds: 1200 })
  host.page('/old', {
    service: front.url,
    body: `<script type="module" src="${front.url}/elements.js"></script>
      <headway-top-bar></headway-top-bar><headway-job-card job-id="${job.id}"></headway-job-card>
      <headway-progress job-id="${job.id}"></headway-progress>`,
  })
  const { page, complaints } = await visit(t, browser, `${host.url}/old`)
  complaints.forgive(/ERR_/)
  const card = page.locator('main > headway-job-card')
  await card.getByText('20 min remaining').waitFor()
  front.target = null
  front.cut()
  await card.getByText(/^as of \d+:\d\d/).waitFor()
  t.equal(await card.getByText('remaining').count(), 0)
  await page
    .locator('headway-progress')
    .getByText(/^as of/)
    .waitFor()
  const bar = page.locator('headway-progress').getByRole('progressbar')
  t.match(await bar.getAttribute('aria-valuetext'), /^42%, as of/)
  for (const element of ['main > headway-job-card', 'headway-top-bar']) {
    // Each element notices at its own next look at the clock.
    const spinner = page.locator(`${element} .old .spinner`).first()
    await spinner.waitFor({ state: 'attached' })
    t.equal(await spinner.evaluate(each => getComputedStyle(each).animationName), 'none', element)
  }
  t.same(await violations(page), [])
  front.target = service.url
  await card.getByText(/remaining/).waitFor()
  t.equal(await card.getByText('as of').count(), 0)
})

t.test('each element says by its own connection when its job was up to date, whenever it was added', async t => {
  const { host, service, front } = await startWorld(t, { AUTH_JWT_SECRET: SECRET })
  const { url } = await startFront(t, service.url)
  const tenant = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'
  const long = await mint({ tenant_id: tenant })
  const admin = service.as(long)
  const [job, unknown] = [await admin.createJob({ name: 'Import', totalCount: 100 }), await admin.createJob()]
  await admin.heartbeat(job.id, { processedCount: 42, etaSeconds: 1200 })
  await admin.heartbeat(unknown.id)
  const context = await browser.newContext()
  t.teardown(() => context.close())
  // Made when the page asks: the time that a busy machine takes until then must not count.
  await context.exposeFunction('shortToken', () => mint({ tenant_id: tenant, exp: Math.ceil(secondsFromNow(5)) }))
  host.page('/two', {
    service: `${front.url} ${url}`,
    body: '<headway-top-bar></headway-top-bar>',
    script: `await import('${front.url}/elements.js')
      const bar = document.querySelector('headway-top-bar')
      const token = await window.shortToken()
      bar.token = token
      const add = (name, id, jobId, url, token) => {
        const element = Object.assign(document.createElement(name), { id, url, token, jobId })
        document.querySelector('main').append(element)
      }
      add('headway-progress', 'unknown', '${unknown.id}', '${front.url}', token)
      add('headway-job-card', 'ended', '${job.id}', '${front.url}', token)
      add('headway-job-card', 'other', '${job.id}', '${url}', '${long}')
      window.again = () => add('headway-job-card', 'again', '${job.id}', '${front.url}', token)`,
  })
  const { page, complaints } = await openPage(t, context, `${host.url}/two`)
  complaints.forgive(/401/)
  const [ended, other, again] = ['#ended', '#other', '#again'].map(id => page.locator(id))
  await ended!.getByText('20 min remaining').waitFor()
  await ended!.getByText(/^as of \d+:\d\d/).waitFor()
  t.equal(await ended!.getByText('remaining').count(), 0)
  await other!.getByText('remaining').waitFor()
  t.equal(await other!.getByText('as of').count(), 0, 'the token of the other is good')
  const fill = page.locator('#unknown .old .unknown .fill')
  await fill.waitFor({ state: 'attached' })
  t.equal(await fill.evaluate(each => getComputedStyle(each).animationName), 'none')

  // A card that is added now shows the same age, and does not call the job silent.
  await page.evaluate(() => (globalThis as unknown as { again: () => void }).again())
  await again!.getByText(/^as of/).waitFor()
  await page.evaluate(() => document.querySelector('main')!.append(document.querySelector('#ended')!))
  await ended!.getByText(/^as of/).waitFor()
  const shift = 3_600_000
  await page.evaluate(shift => {
    const now = Date.now.bind(Date)
    Date.now = () => now() + shift
  }, shift)
  await page.locator('headway-top-bar').getByRole('button').click()
  await page
    .locator('headway-top-bar headway-job-card')
    .filter({ hasText: 'Import' })
    .getByText(/^as of/)
    .waitFor()
  t.same(await page.getByText('Not advancing').count(), 0)
})

t.test('a hidden page says until when its connection worked', async t => {
  // So long that ten minutes which pass at once are no silence: a new connection would bring the clock of the service.
  const { host, service, front } = await startWorld(t, { LIVE_KEEPALIVE_SECONDS: '3600' })
  const job = await service.createJob({ name: 'Import', totalCount: 100 })
  await service.heartbeat(job.id, { processedCount: 42 })
  host.page('/hidden', {
    service: front.url,
    body: `<headway-job-card job-id="${job.id}"></headway-job-card>`,
    script: `const [now, every] = [Date.now.bind(Date), setInterval]
      let shift = 0
      Date.now = () => now() + shift
      window.ticks = 0
      window.setInterval = (tick, ms) => {
        let count = 0
        return every(() => {
          tick()
          if (shift > 0 && ms === 1_000) window.ticks = Math.max(window.ticks, ++count)
        }, ms)
      }
      window.look = isSeen => {
        Object.defineProperty(document, 'visibilityState', { value: isSeen ? 'visible' : 'hidden', configurable: true })
        document.dispatchEvent(new Event('visibilitychange'))
      }
      window.later = ms => (shift = ms)
      window.minute = () => new Date(Date.now()).toLocaleTimeString('en-US', { hour: 'numeric', minute: '2-digit' })
      await import('${front.url}/elements.js')`,
  })
  const { page, complaints } = await visit(t, browser, `${host.url}/hidden`)
  complaints.forgive(/ERR_/)
  const card = page.locator('headway-job-card')
  await card.getByText('42 of 100').waitFor()
  await page.evaluate('look(false); later(600000)')
  await waitFor(() => page.evaluate('ticks > 2'))
  const before = await page.evaluate<string>('minute()')
  front.target = null
  front.cut()
  await card.getByText(/^as of/).waitFor({ state: 'attached' })
  const after = await page.evaluate<string>('minute()')
  const said = await card.getByText(/^as of/).textContent()
  t.ok(
    [before, after].some(minute => said === `as of ${minute}`),
    `${said}, ${before}`,
  )
})

t.test('elements take their colours, sizes and language from the page', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ name: 'Import', totalCount: 4 })
  await service.heartbeat(job.id, { processedCount: 1 })
  host.page('/themed', {
    service: front.url,
    body: `<script type="module" src="${front.url}/elements.js"></script>
      <div lang="de"><headway-top-bar></headway-top-bar></div>
      <headway-progress job-id="${job.id}"></headway-progress>`,
    script: `const sheet = new CSSStyleSheet()
      sheet.replaceSync('headway-progress { --headway-accent: rgb(1, 2, 3) } headway-progress::part(track) { height: 21px }')
      document.adoptedStyleSheets.push(sheet)`,
  })
  const { page } = await visit(t, browser, `${host.url}/themed`)
  await page.getByRole('button', { name: '1 Vorgang läuft' }).click()
  const card = page.locator('headway-top-bar headway-job-card')
  await card.getByText('Läuft', { exact: true }).waitFor()
  const fill = page.locator('headway-progress .fill')
  await fill.waitFor({ state: 'attached' })
  t.equal(await fill.evaluate(element => getComputedStyle(element).fill), 'rgb(1, 2, 3)')
  t.equal(await page.locator('headway-progress .track').evaluate(element => element.getBoundingClientRect().height), 21)
  const [filled, whole] = await Promise.all(
    ['.fill', '.track'].map(part =>
      page.locator(`headway-progress ${part}`).evaluate(e => e.getBoundingClientRect().width),
    ),
  )
  await waitFor(async () => (await fill.evaluate(e => e.getBoundingClientRect().width)) > whole! * 0.24)
  t.ok(filled! <= whole! * 0.26)

  // Its worker is alive, and has done nothing for a while: no time counts down for that.
  await service.age(job.id, 60)
  await service.database.pool.query(
    "UPDATE progress_jobs SET advanced_at = now() - interval '1 minute' WHERE id = $1",
    [job.id],
  )
  await service.heartbeat(job.id, { message: 'Warte auf die Sperre', etaSeconds: 90 })
  await card.getByText('Kein Fortschritt', { exact: true }).waitFor()
  t.equal(await card.getByText('noch').count(), 0)
})

t.test('elements stay within their containers, whatever inherited styles the page sets', async t => {
  const { host, service, front } = await startWorld(t)
  const long = await service.createJob({
    name: 'Donaudampfschiff'.repeat(12),
    totalCount: 2_000_000,
    cancellable: true,
  })
  await service.heartbeat(long.id, { processedCount: 1_000_000, message: 'שלום '.repeat(20), etaSeconds: 400_000 })
  const elements =
    `<headway-job-card job-id="${long.id}"></headway-job-card><headway-progress job-id="${long.id}"></headway-progress>` +
    '<headway-top-bar expanded></headway-top-bar>'
  host.page('/hostile', {
    service: front.url,
    body:
      `<script type="module" src="${front.url}/elements.js"></script>` +
      ['narrow', 'large', 'set', 'reverted', 'row'].map(id => `<div id="${id}" lang="de">${elements}</div>`).join('') +
      `<div id="turned" dir="rtl">${elements}</div>`,
    script: `const sheet = new CSSStyleSheet()
      sheet.replaceSync(\`
        div { width: 320px }
        #large { width: 200px; font-size: 200% }
        #set { white-space: pre; text-indent: 60px; text-align: center; letter-spacing: 2px }
        #reverted * { all: revert }
        #row { display: flex }
        button { width: 100%; display: block }\`)
      document.adoptedStyleSheets.push(sheet)`,
  })
  const { page } = await visit(t, browser, `${host.url}/hostile`)
  await waitFor(() =>
    page.evaluate(() =>
      [...document.querySelectorAll('headway-top-bar')].every(bar => bar.shadowRoot?.querySelector('headway-job-card')),
    ),
  )
  // The question needs more room than anything else that stands beside a name. Each element reads the job by itself, and has a
  // button when it has read it.
  for (const card of await page.locator('headway-job-card').all()) {
    await card.locator('[part=cancel]').evaluate((button: HTMLElement) => button.click())
  }
  await page.locator('#turned > headway-job-card [part=question]').waitFor()
  const outside = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('main > div > *')].flatMap(host => {
      const room = host.getBoundingClientRect()
      return [...(host.shadowRoot?.querySelectorAll<HTMLElement>(':not(.spoken, svg *)') ?? [])]
        .map(element => ({ element, box: element.getBoundingClientRect() }))
        .filter(({ box }) => box.width > 0 && (box.left < room.left - 1 || box.right > room.right + 1))
        .map(
          ({ element }) =>
            `${host.parentElement?.id ?? ''} ${host.localName}: ${element.className} ${element.part.value}`,
        )
    }),
  )
  t.same(outside, [])
  /** How far the bar's fill is from where its track begins, and whether that is on the right. */
  const fillOf = (area: string) =>
    page.locator(`${area} > headway-progress .track`).evaluate(track => {
      const [whole, fill] = [track.getBoundingClientRect(), track.querySelector('.fill')!.getBoundingClientRect()]
      return { left: Math.round(fill.left - whole.left) > 1, right: Math.round(whole.right - fill.right) > 1 }
    })
  t.same(await fillOf('#narrow'), { left: false, right: true })
  t.same(await fillOf('#turned'), { left: true, right: false }, 'a bar begins where a line of the page does')
})

t.test('elements that are moved, or removed and added within a frame, keep their connection', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ name: 'Import', totalCount: 10 })
  await service.heartbeat(job.id, { processedCount: 1 })
  host.page('/moved', {
    service: front.url,
    body: `<script type="module" src="${front.url}/elements.js"></script>
      <div id="a"><headway-job-card job-id="${job.id}"></headway-job-card></div><div id="b"></div>`,
  })
  const { page } = await visit(t, browser, `${host.url}/moved`)
  const card = page.locator('headway-job-card')
  await card.getByText('1 of 10').waitFor()
  const before = streamsSeen(front).length
  await page.evaluate(() => {
    const [a, b] = [document.querySelector('#a')!, document.querySelector('#b')!]
    const card = a.firstElementChild!
    for (let turn = 0; turn < 25; turn += 1) {
      card.remove()
      ;(turn % 2 === 0 ? b : a).append(card)
    }
  })
  await service.heartbeat(job.id, { processedCount: 2 })
  await card.getByText('2 of 10').waitFor()
  t.equal(streamsSeen(front).length, before, 'the same stream')
})

for (const react of [18, 19] as const) {
  t.test(`a page of React ${react} uses the hook and the elements`, async t => {
    const { host, service, front } = await startWorld(t)
    const job = await service.createJob({ name: 'Import', totalCount: 4, cancellable: true })
    host.page('/react', {
      service: front.url,
      body: '<div id="root"></div>',
      script: await bundle(
        `
        import { StrictMode, useState, version } from 'react'
        import { createRoot } from 'react-dom/client'
        import { useProgress } from '@headway/client/react'
        import '@headway/client/elements'
        // As where there is no HTTPS.
        Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })
        const Progress = () => {
          const progress = useProgress({ url: '${front.url}', token: () => undefined })
          const { activeJobs, recentlyCompleted, isLoading, error, connection, cancel } = progress
          window.renders = (window.renders ?? 0) + 1
          return <>
            <p id="state">{[isLoading, error, connection].join()}</p>
            <ul id="active">{activeJobs.map(job => <li key={job.id} onClick={() => cancel(job.id)}>{job.name} {job.progressPercent}</li>)}</ul>
            <ul id="recent">{recentlyCompleted.map(job => <li key={job.id}>{job.name} {job.status}</li>)}</ul>
          </>
        }
        const Count = () => <p id="count">{useProgress({ url: '${front.url}', token: () => '' }).activeJobs.length}</p>
        const App = () => {
          const [shown, show] = useState(true)
          return <>
            <headway-progress url="${front.url}" job-id="${job.id}"></headway-progress>
            <button onClick={() => show(!shown)}>toggle</button>
            {shown && <><Progress /><Count /></>}
          </>
        }
        document.body.dataset.react = version
        createRoot(document.getElementById('root')).render(<StrictMode><App /></StrictMode>)`,
        { react },
      ),
    })
    const { page } = await visit(t, browser, `${host.url}/react`)
    await page.locator('#active li', { hasText: 'Import 0' }).waitFor()
    t.equal(await page.locator('#state').textContent(), 'false,,live')
    t.match(await page.locator('body').getAttribute('data-react'), new RegExp(`^${react}\\.`))
    await service.heartbeat(job.id, { processedCount: 1 })
    await page.locator('#active li', { hasText: 'Import 25' }).click()
    await waitFor(async () => (await service.job(job.id)).cancelRequestedAt !== null)
    await page.locator('headway-progress').getByRole('progressbar').waitFor()
    t.equal(await page.locator('headway-progress').getByRole('progressbar').getAttribute('aria-valuenow'), '25')
    await service.call('POST', `/jobs/${job.id}/complete`)
    await page.locator('#recent li', { hasText: 'Import completed' }).waitFor()
    t.equal(await page.locator('#active li').count(), 0)
    const renders = await page.evaluate(() => (globalThis as unknown as { renders: number }).renders)
    t.ok(renders < 40, `${renders} renders`)
    t.equal(await page.locator('#count').textContent(), '0')
    t.equal(front.openStreams, 2, 'all hooks have one, and the element of a single job another')
    await page.getByRole('button').click()
    await waitFor(() => front.openStreams === 1)
    await page.getByRole('button').click()
    await page.locator('#recent li', { hasText: 'Import completed' }).waitFor()
  })
}

t.test('elements that a page loads by require() call the origin of the page', async t => {
  const host = await startHost(t)
  host.page('/required', {
    service: "'self'",
    body: '<headway-progress job-id="0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55"></headway-progress>',
    script: await bundle("require('@headway/client/elements')"),
  })
  const { page, complaints } = await visit(t, browser, 'about:blank')
  complaints.forgive(/status of 404/)
  const asked = page.waitForRequest(request => request.url().startsWith(`${host.url}/api/`))
  await page.goto(`${host.url}/required`)
  t.ok(await asked)
})

t.test('elements use properties that are set before their file has loaded, and after they were added', async t => {
  const { host, service, front } = await startWorld(t, { AUTH_JWT_SECRET: SECRET })
  const token = await mint({ tenant_id: '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55' })
  const admin = service.as(token)
  const [one, two] = [await admin.createJob({ name: 'One' }), await admin.createJob({ name: 'Two' })]
  host.page('/early', {
    service: front.url,
    body: `<headway-job-card id="early"></headway-job-card>
      <headway-job-card job-id="undefined"></headway-job-card>
      <headway-job-card job-id="{{ job.id }}"></headway-job-card>
      <headway-job-card id="late" job-id="${one.id}"></headway-job-card>`,
    script: `const giveToken = () => window.giveToken()
      const early = document.querySelector('#early')
      early.token = () => giveToken()
      early.jobId = '${one.id}'
      const { HeadwayJobCard } = await import('${front.url}/elements.js')
      // As where a page has it in its own bundle as well.
      await import('${front.url}/elements.js?again')
      for (const card of document.querySelectorAll('headway-job-card')) card.token ??= () => giveToken()
      const added = new HeadwayJobCard()
      added.id = 'added'
      document.querySelector('main').append(added)
      added.url = '${front.url}'
      added.token = () => giveToken()
      added.jobId = '${two.id}'
      const again = document.createElement('headway-job-card')
      Object.assign(again, { id: 'again', token: () => giveToken(), jobId: '${two.id}' })
      document.querySelector('main').append(again)
      again.remove()
      document.querySelector('main').prepend(again)`,
  })
  const context = await browser.newContext()
  t.teardown(() => context.close())
  await context.exposeFunction('giveToken', () => token)
  const { page, complaints } = await openPage(t, context, `${host.url}/early`)
  for (const [id, name] of Object.entries({ early: 'One', late: 'One', added: 'Two', again: 'Two' })) {
    await page.locator(`#${id}`).getByText(name).waitFor()
  }
  await page.locator('headway-job-card[job-id=undefined]').getByText('There is no such job').waitFor()
  await page.locator('headway-job-card[job-id^="{"]').getByText('There is no such job').waitFor()
  await waitFor(() => front.openStreams === 1)
  t.equal(front.openStreams, 1, 'with one stream, whatever functions give the tokens')
  await page.evaluate(() => document.querySelector('#early')!.remove())
  await page.evaluate(id => document.querySelector('#late')!.setAttribute('job-id', id), two.id)
  await page.locator('#late').getByText('Two').waitFor()
  await waitFor(() => streamsSeen(front).at(-1)?.path.endsWith(`?jobId=${two.id}`))
  await waitFor(() => front.openStreams === 1)
  await page.evaluate(() => document.querySelectorAll('headway-job-card').forEach(card => card.remove()))
  await waitFor(() => front.openStreams === 0)
  complaints.forgive(/401/)
})

t.test('a Vue page binds attributes and properties of the elements', async t => {
  const { host, service, front } = await startWorld(t, { AUTH_JWT_SECRET: SECRET })
  const token = await mint({ tenant_id: '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55' })
  const [one, two] = [
    await service.as(token).createJob({ name: 'One' }),
    await service.as(token).createJob({ name: 'Two' }),
  ]
  host.page('/vue', {
    service: front.url,
    body: '<div id="root"></div>',
    script: await bundle(`
      import { createApp, h, ref } from 'vue'
      import '@headway/client/elements'
      const id = ref('${one.id}')
      const token = async () => '${token}'
      createApp({ render: () => [
        h('headway-job-card', { url: '${front.url}', '.token': () => token(), 'job-id': id.value }),
        h('headway-top-bar', { url: '${front.url}', '.token': () => token() }),
        h('button', { onClick: () => (id.value = id.value === '${one.id}' ? '${two.id}' : '') }, 'next'),
      ] }).mount('#root')`),
  })
  const { page } = await visit(t, browser, `${host.url}/vue`)
  const card = page.locator('#root > headway-job-card')
  await card.getByText('One').waitFor()
  await page.getByRole('button', { name: '2 operations running' }).waitFor()
  await page.getByRole('button', { name: 'next' }).click()
  await card.getByText('Two').waitFor()
  await page.getByRole('button', { name: 'next' }).click()
  await waitFor(async () => (await card.locator('.card').count()) === 0)
  t.equal(streamsSeen(front).length, 3, 'a callback that is made anew with each render opens no stream')
  t.notMatch(await page.content(), /eyJ/, 'a token that is a property is nowhere in the page')
})

t.test('three tabs of an origin have one connection, and lose nothing when the tab that has it is closed', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ totalCount: 100 })
  host.page('/tab', { service: front.url, script: clientScript(front.url) })
  const first = await visit(t, browser, `${host.url}/tab`)
  await until(first.page, 'live')
  const others = [
    await openPage(t, first.context, `${host.url}/tab`),
    await openPage(t, first.context, `${host.url}/tab`),
  ].map(({ page }) => page)
  await Promise.all(others.map(page => until(page, 'live')))
  t.equal(front.openStreams, 1)
  await service.heartbeat(job.id, { processedCount: 10 })
  for (const page of [first.page, ...others]) await waitFor(async () => (await percentOf(page, job.id)) === 10)
  const streams = () => streamsSeen(front).length
  t.equal(streams(), 1)
  const closedAt = Date.now()
  await first.page.close()
  await waitFor(() => streams() === 2)
  t.ok(Date.now() - closedAt < 1000, 'another one has taken over within a second')
  await service.heartbeat(job.id, { processedCount: 20 })
  for (const page of others) await waitFor(async () => (await percentOf(page, job.id)) === 20)
  t.equal(front.openStreams, 1)
})

t.test(
  'another tab takes over the connection from a tab that is frozen, in the back/forward cache, or has crashed',
  async t => {
    const { host, service, front } = await startWorld(t)
    const job = await service.createJob({ totalCount: 100 })
    host.page('/tab', {
      service: front.url,
      script: `${clientScript(front.url)}
      addEventListener('pageshow', ({ persisted }) => (window.kept = persisted))
      const { fetch } = window
      window.streams = 0
      window.fetch = (url, init) => {
        if (url.includes('/stream')) window.streams += 1
        return fetch(url, init)
      }`,
    })
    host.page('/elsewhere', { service: front.url })
    const openTab = await openWindow(await openBrowser(t, { keepsPages: true }))
    const tabs: WindowTab[] = []
    while (tabs.length < 3) {
      const tab = await openTab(`${host.url}/tab`)
      await waitFor(() => tab.evaluate("headway.connection === 'live'"))
      tabs.push(tab)
    }
    const [first, second, third] = tabs as [WindowTab, WindowTab, WindowTab]
    t.equal(await first.evaluate('document.visibilityState'), 'hidden')

    const streams = () => streamsSeen(front).length
    const isReplaced = async (how: string, lose: () => Promise<unknown>) => {
      const [before, lostAt] = [streams(), performance.now()]
      await lose()
      // On a busy machine the next one in the queue may be frozen when it has begun to lead: the third notices by its pings.
      await waitFor(() => streams() > before, { timeoutMs: 20_000 })
      t.comment(`${how}: ${Math.round(performance.now() - lostAt)} ms`)
      await waitFor(() => front.openStreams === 1)
    }
    const has = (tab: WindowTab, percent: number) =>
      waitFor(() => tab.evaluate(`headway.job('${job.id}').progressPercent === ${percent}`))
    const areAtTheTruth = async (percent: number, ...those: WindowTab[]) => {
      await service.heartbeat(job.id, { processedCount: percent })
      for (const tab of those) await has(tab, percent)
      t.equal(front.openStreams, 1)
    }

    // The next one in the queue does not run either.
    await second.freeze()
    await isReplaced('frozen', first.freeze)
    await areAtTheTruth(10, third)
    await first.thaw()
    await second.thaw()
    await has(first, 10)
    await areAtTheTruth(20, first, second, third)

    await isReplaced('kept', () => third.evaluate("location.href = '/elsewhere'"))
    await areAtTheTruth(30, first, second)
    await third.evaluate('history.back()')
    await waitFor(() => third.evaluate('window.kept'))
    await has(third, 30)
    await areAtTheTruth(40, first, second, third)

    const leads = await first.evaluate('streams > 1')
    await isReplaced('crashed', (leads ? first : second).crash)
    await areAtTheTruth(50, leads ? second : first, third)
  },
)

t.test('a page goes on after a restart of the service, and where no stream gets through', async t => {
  const { host, service, front } = await startWorld(t)
  const job = await service.createJob({ totalCount: 100 })
  host.page('/hard', { service: front.url, script: clientScript(front.url) })
  const { page, complaints } = await visit(t, browser, `${host.url}/hard`)
  await until(page, 'live')
  front.target = null
  front.cut()
  await until(page, 'reconnecting')
  await service.heartbeat(job.id, { processedCount: 30 })
  front.target = service.url
  await until(page, 'live')
  t.equal(await percentOf(page, job.id), 30, 'it is at the truth again')

  front.fate = 'hold'
  await until(page, 'polling')
  await service.heartbeat(job.id, { processedCount: 40 })
  await waitFor(async () => (await percentOf(page, job.id)) === 40, { timeoutMs: 10_000 })
  front.fate = 'pass'
  await until(page, 'live')
  await service.heartbeat(job.id, { processedCount: 50 })
  await waitFor(async () => (await percentOf(page, job.id)) === 50)
  complaints.forgive(/Failed to load resource|net::ERR/)
})

t.test(
  'a stream with a renewed token resumes from the last id, and a page that waits for a job is told of its end after a reload',
  async t => {
    const tenant_id = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'
    const { host, service, front } = await startWorld(t, { AUTH_JWT_SECRET: SECRET })
    const admin = service.as(await mint({ tenant_id }))
    const job = await admin.createJob()
    host.page('/token', { service: front.url, script: clientScript(front.url, ', token: () => window.giveToken()') })
    const context = await browser.newContext()
    t.teardown(() => context.close())
    let given = 0
    await context.exposeFunction('giveToken', () => {
      given += 1
      return mint({ tenant_id, exp: secondsFromNow(given === 1 ? 5 : 3600) })
    })
    const { page } = await openPage(t, context, `${host.url}/token`)
    await until(page, 'live')
    await page.evaluate(id => {
      const { headway } = globalThis as unknown as HeadwayWindow
      headway.waitFor(id).catch(() => undefined)
    }, job.id)
    const streams = () => streamsSeen(front)
    await admin.heartbeat(job.id)
    await waitFor(() => streams().length === 2, { timeoutMs: 10_000 })
    t.match(streams()[1]?.headers['last-event-id'], /^\d+\.\d+\.\d+(-\d+)*$/)
    await until(page, 'live')

    host.page('/token', {
      service: front.url,
      script: `${clientScript(front.url, ', token: () => window.giveToken()')}
      window.ends = []
      headway.on('finished', ({ id, status }) => ends.push([id, status]))`,
    })
    await page.goto('about:blank')
    await admin.call('POST', `/jobs/${job.id}/complete`)
    await admin.age(job.id, 7200)
    await page.goto(`${host.url}/token`)
    await page.waitForFunction(() => (globalThis as unknown as { ends?: unknown[] }).ends?.length === 1)
    t.same(await page.evaluate(() => (globalThis as unknown as { ends: unknown[] }).ends), [[job.id, 'completed']])
    const kept = await page.evaluate(() => JSON.stringify(Object.entries(localStorage)))
    t.equal(kept, '[]', 'neither a token nor a job that has ended')
  },
)
