import type { BrowserContext, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startReceiver } from '../helpers/receiver.ts'
import { startService } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { holdBack, openBrowser, openPage, shellOf, visit } from './browser.ts'
import { startHost } from './host.ts'

const browser = await openBrowser(t)
const service = await startService(t)

/** A page of another origin, at `/card`, with a card that has a bell. */
const startCardHost = async (t: Test, name: string) => {
  const host = await startHost(t)
  const own = await startService(t, { CORS_ORIGIN: host.url })
  const job = await own.createJob({ name })
  host.page('/card', {
    service: own.url,
    body: `<script type="module" src="${own.url}/elements.js"></script>
      <headway-job-card notify job-id="${job.id}"></headway-job-card>`,
  })
  return { host, own, job }
}

interface Said {
  title: string
  body: string
}

/** What this page has said by notifications of the browser. */
const saidBy = (page: Page): Promise<Said[]> => page.evaluate(() => (globalThis as unknown as { said: Said[] }).said)

/** Notifications as a list, because a browser without a screen shows none. `default`: the visitor allows them when asked. */
const openContext = async (permission: NotificationPermission): Promise<BrowserContext> => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-US' })
  t.teardown(() => context.close())
  await context.addInitScript(given => {
    const said: unknown[] = []
    const asked = () => (location.protocol === 'about:' ? null : localStorage.getItem('asked'))
    Object.assign(globalThis, {
      said,
      Notification: class {
        static get permission() {
          return asked() ?? given
        }
        static async requestPermission() {
          localStorage.setItem('asked', 'granted')
          return this.permission
        }
        constructor(title: string, { body }: { body: string }) {
          said.push({ title, body })
        }
        close() {}
      },
    })
  }, permission)
  return context
}

const bellOf = (page: Page, name: string) => page.getByRole('button', { name: `Notify me when ${name} ends` })

const bellOffOf = (page: Page, name: string) =>
  page.getByRole('button', { name: `Stop notifying me of the end of ${name}` })

t.test(
  'one tab of several says by a notification that a watched job has ended, and each says it in its page',
  async t => {
    const context = await openContext('default')
    const job = await service.createJob({ name: 'Watched', jobType: 'bell' })
    const other = await service.createJob({ name: 'Not watched', jobType: 'bell' })
    const { page: first } = await openPage(t, context, `${service.url}/?type=bell`)
    await bellOf(first, 'Watched').click()
    await first.getByText('The browser will say when').waitFor()
    const { page: second } = await openPage(t, context, `${service.url}/jobs/${job.id}`)
    await second.getByRole('button', { name: 'Stop notifying me', exact: true }).waitFor()
    await bellOf(first, 'Not watched').waitFor()
    // A page shows it for some seconds only.
    const shown = [first, second].map(page =>
      page.getByRole('status').filter({ hasText: 'Watched' }).filter({ hasText: 'has failed' }).waitFor(),
    )
    await service.call('POST', `/jobs/${other.id}/complete`, {})
    await service.call('POST', `/jobs/${job.id}/fail`, { errorMessage: 'no disk' })
    await Promise.all(shown)
    const said = await waitFor(async () => {
      const all = [...(await saidBy(first)), ...(await saidBy(second))]
      return all.length > 0 ? all : null
    })
    t.same(said, [{ title: '\u2068Watched\u2069 has failed', body: 'no disk' }])
  },
)

t.test('a watched job is remembered over a reload, and one that is no longer watched is not told', async t => {
  const context = await openContext('default')
  const [kept, dropped] = [
    await service.createJob({ name: 'Kept', jobType: 'reload' }),
    await service.createJob({ name: 'Dropped', jobType: 'reload' }),
  ]
  const { page } = await openPage(t, context, `${service.url}/?type=reload`)
  const { page: away } = await openPage(t, context, `${service.url}/?type=reload`)
  await bellOf(page, 'Kept').click()
  await bellOf(page, 'Dropped').click()
  await bellOffOf(away, 'Kept').waitFor()
  await bellOffOf(away, 'Dropped').click()
  await bellOf(page, 'Dropped').waitFor()
  await away.close()
  await page.goto('about:blank')
  for (const { id } of [kept, dropped]) await service.call('POST', `/jobs/${id}/complete`, {})
  await page.goto(service.url)
  const said = await waitFor(async () => {
    const all = await saidBy(page)
    return all.length > 0 && all
  })
  t.match(said, [{ title: /Kept.* is completed/ }])
  t.equal(said && said.length, 1)
})

t.test('an end that is known before the page is drawn is told when it is', async t => {
  const context = await openContext('default')
  const job = await service.createJob({ name: 'Early', jobType: 'early' })
  const { page } = await openPage(t, context, `${service.url}/?type=early`)
  await bellOf(page, 'Early').click()
  await page.locator('.bell[data-on]').waitFor()
  await page.goto('about:blank')
  await service.call('POST', `/jobs/${job.id}/complete`, {})
  // The stream no longer has it, so that the client asks for it.
  await service.database.pool.query(
    `UPDATE progress_jobs SET finished_at = finished_at - interval '1 day' WHERE id = $1`,
    [job.id],
  )
  const release = await holdBack(page, await shellOf(service.url))
  for (const visit of ['that is left before it is drawn', 'that is drawn late']) {
    const known = page.waitForResponse(response => response.url().endsWith(`/jobs/${job.id}`))
    await page.goto(service.url, { waitUntil: 'commit' })
    await (await known).finished()
    t.same(await saidBy(page), [], `a visit ${visit}`)
    if (visit !== 'that is drawn late') await page.goto('about:blank')
  }
  release()
  await waitFor(async () => (await saidBy(page)).length > 0)
  t.match(await saidBy(page), [{ title: /Early.* is completed/ }])
  await page.getByRole('status').filter({ hasText: 'is completed' }).waitFor()
})

t.test(
  'a bell says what a click does: to eyes, in its tooltip and as its name, on a page, in a row and on a card',
  async t => {
    const { host, own, job } = await startCardHost(t, 'Long')
    const context = await openContext('default')
    const name = async (page: Page) => (await page.locator('.bell, [part=notify]').ariaSnapshot()).trim()
    for (const [address, before, after] of [
      [`${own.url}/jobs/${job.id}`, 'Notify me', 'Stop notifying me'],
      [own.url, 'Notify me when Long ends', 'Stop notifying me of the end of Long'],
      [`${host.url}/card`, 'Notify me when Long ends', 'Stop notifying me of the end of Long'],
    ] as const) {
      const { page } = await openPage(t, context, address)
      const [off, on] = [before, after].map(each => page.getByRole('button', { name: each, exact: true }))
      await off!.click()
      await on!.waitFor()
      t.ok((await name(page)).startsWith(`- button "${after}"`), after)
      t.notMatch(await name(page), 'pressed', 'without a state that says it once more')
      if (address !== `${host.url}/card`)
        t.match(await on!.getAttribute('title'), 'You will be told when the job ends. Click')
      await on!.click()
      await off!.waitFor()
    }
    await context.close()
  },
)

t.test('where the browser allows no notifications, the page says so, and tells the end itself', async t => {
  const context = await openContext('denied')
  const job = await service.createJob({ name: 'Denied', jobType: 'denied' })
  const { page } = await openPage(t, context, `${service.url}/jobs/${job.id}`)
  await page.getByRole('button', { name: 'Notify me' }).click()
  await page.getByText('the browser allows no notifications here').waitFor()
  await service.call('POST', `/jobs/${job.id}/complete`, {})
  await page.getByRole('status').filter({ hasText: 'is completed' }).waitFor()
  t.same(await saidBy(page), [])
})

t.test('a card has a bell where its page wants one, and one page of several says how the job ended, once', async t => {
  const host = await startHost(t)
  const own = await startService(t, { CORS_ORIGIN: host.url })
  const [job, late] = [await own.createJob({ name: 'Embedded' }), await own.createJob({ name: 'Late' })]
  host.page('/cards', {
    service: own.url,
    body: `<script type="module" src="${own.url}/elements.js"></script>
      <headway-job-card notify job-id="${job.id}"></headway-job-card>
      <headway-job-card notify job-id="${late.id}"></headway-job-card>
      <section><headway-job-card job-id="${job.id}"></headway-job-card></section>`,
  })
  const context = await openContext('default')
  const { page: first } = await openPage(t, context, `${host.url}/cards`)
  const { page: second } = await openPage(t, context, `${host.url}/cards`)
  await first.locator('section').getByText('Pending').waitFor()
  t.equal(await first.locator('section [part=notify]').count(), 0, 'a card has none by itself')
  await bellOf(first, 'Embedded').click()
  await bellOf(first, 'Late').click()
  const areOn = (page: Page, count: number) =>
    waitFor(async () => (await page.getByText('Stop notifying me').count()) === count)
  await areOn(second, 2)
  await own.call('POST', `/jobs/${job.id}/fail`, { errorMessage: 'no disk' })
  const saidByBoth = async () => [...(await saidBy(first)), ...(await saidBy(second))]
  t.same(await waitFor(async () => ((await saidByBoth()).length > 0 ? saidByBoth() : null)), [
    { title: 'Embedded: failed', body: 'no disk' },
  ])
  for (const page of [first, second]) await page.getByText('no disk').first().waitFor()
  await areOn(second, 1)

  await Promise.all([first, second].map(page => page.goto('about:blank')))
  await own.call('POST', `/jobs/${late.id}/complete`, {})
  await first.goto(`${host.url}/cards`)
  const afterwards = await waitFor(async () => ((await saidBy(first)).length > 0 ? saidBy(first) : null))
  t.match(afterwards, [{ title: 'Late: completed' }])
  t.equal(afterwards?.length, 1, 'the job that was told before is not told again')
  await context.close()
})

t.test('a card says so where the browser allows no notifications', async t => {
  const { host, own, job } = await startCardHost(t, 'Denied')
  const context = await openContext('denied')
  const { page } = await openPage(t, context, `${host.url}/card`)
  await bellOf(page, 'Denied').click()
  await page.getByText('The browser allows no notifications here').waitFor()
  await own.call('POST', `/jobs/${job.id}/complete`, {})
  await page.getByText('Completed').waitFor()
  t.same(await saidBy(page), [])
  await context.close()
})

t.test("a job's tab shows its percent and its end in title and icon, also when nothing is rendered", async t => {
  const job = await service.createJob({ name: 'In a tab', jobType: 'tab', totalCount: 100 })
  await service.heartbeat(job.id, { processedCount: 42 })
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  const title = (wanted: RegExp) => waitFor(async () => wanted.test(await page.title()))
  await title(/^42% · In a tab · Headway$/)
  // The picture is one that the page's policy lets through.
  const icon = await page.evaluate(async () => {
    const { href } = document.querySelector<HTMLLinkElement>('link[rel=icon]')!
    const image = new Image()
    image.src = href
    await image.decode()
    return decodeURIComponent(href)
  })
  t.match(icon, />42<\/text>/)
  // A hidden tab gets no frames.
  await page.evaluate(() => Object.assign(globalThis, { requestAnimationFrame: () => 0 }))
  await service.call('POST', `/jobs/${job.id}/complete`, {})
  await title(/^In a tab · Headway ✓$/)
  await service.database.pool.query('DELETE FROM progress_jobs WHERE id = $1', [job.id])
  const failed = await service.createJob({ name: 'Broken', jobType: 'tab' })
  await service.call('POST', `/jobs/${failed.id}/fail`, { errorMessage: 'x' })
  await page.goto(`${service.url}/jobs/${failed.id}`)
  await title(/^Broken · Headway ✕$/)
})

t.test("the list's tab counts the jobs that need attention", async t => {
  const own = await startService(t)
  const job = await own.createJob({ name: 'Late', finishBy: '2026-01-31T12:00:00Z' })
  await own.createJob({ name: 'Calm' })
  await own.database.pool.query("UPDATE public.progress_jobs SET deadline = 'overdue' WHERE id = $1", [job.id])
  const { page } = await visit(t, browser, own.url)
  await waitFor(async () => /^\(1\) Jobs · Headway$/.test(await page.title()))
  await own.call('POST', `/jobs/${job.id}/complete`, {})
  await waitFor(async () => /^Jobs · Headway$/.test(await page.title()))
})

t.test(
  'a destination is made, tested, paused and deleted on the page of notifications, and a failure says why',
  async t => {
    const receiver = await startReceiver(t)
    const own = await startService(t, { WEBHOOK_ALLOWED_NETWORKS: '127.0.0.0/8' })
    const { page } = await visit(t, browser, own.url)
    await page.getByRole('link', { name: 'Notifications' }).click()
    await page.getByText('Nobody is told yet').waitFor()
    await page.getByRole('button', { name: 'Add a destination' }).click()
    await page.getByLabel('Address').fill(receiver.url)
    await page.getByRole('textbox', { name: 'Name' }).fill('Build room <b>')
    await page.getByLabel('the end').check()
    await page.getByRole('button', { name: 'Make it' }).click()
    await page
      .locator('.made')
      .getByText(/^whsec_/)
      .waitFor()
    const card = page.getByRole('region', { name: 'Build room <b>' })
    await card.getByText('Nothing sent yet').waitFor()
    const press = (name: string) => card.getByRole('button', { name, exact: true }).click()
    await page.setViewportSize({ width: 320, height: 900 })
    const { width = 0 } = (await card.locator('.names').boundingBox()) ?? {}
    t.ok(width > 150, `its name keeps its room beside its state on a telephone: ${width}`)
    await page.setViewportSize({ width: 1440, height: 900 })
    await press('Send a test')
    await card.getByText('The test has arrived.').waitFor()
    t.match(receiver.received.at(-1)?.body, { type: 'webhook.test' })
    receiver.answerWith(500)
    await press('Send a test')
    await card.getByText('The test has not arrived: answer 500').waitFor()
    await press('Deliveries')
    await card.getByRole('row').filter({ hasText: 'Waiting' }).getByText('answer 500').waitFor()
    await card.getByRole('row').filter({ hasText: 'Delivered' }).getByText('Test').waitFor()
    await press('Pause')
    await card.getByText('Paused', { exact: true }).waitFor()
    t.equal(await card.getByRole('button', { name: 'Send a test' }).count(), 0, 'nothing is sent meanwhile')
    await press('Resume')
    await card.getByRole('button', { name: 'Send a test' }).waitFor()
    await press('Delete')
    await press('Keep it as it is')
    await press('Delete')
    await card.getByRole('group').getByRole('button', { name: 'Delete' }).click()
    await page.getByText('Nobody is told yet').waitFor()
  },
)

t.test('each kind of destination asks for its own settings, and what is secret is not shown again', async t => {
  const own = await startService(t, { ENCRYPTION_KEYS: Buffer.alloc(32, 7).toString('base64') })
  const { page } = await visit(t, browser, `${own.url}/notifications`, { locale: 'de-DE' })
  await page.getByRole('button', { name: 'Ziel hinzufügen' }).click()
  const labels = async (kind: string): Promise<string[]> => {
    await page.locator('select[name=kind]').selectOption(kind)
    const names = await page
      .locator('.destination-form .fields :is(input, select)')
      .evaluateAll(fields => fields.map(field => (field as HTMLInputElement).name))
    return names.filter(name => !['kind', 'description', 'jobType'].includes(name))
  }
  t.same(await labels('webhook'), ['url', 'progressIntervalSeconds'])
  t.same(await labels('discord'), ['url', 'progressIntervalSeconds'])
  t.same(await labels('telegram'), ['token', 'chatId', 'progressIntervalSeconds'])
  t.same(await labels('matrix'), ['homeserver', 'token', 'roomId', 'progressIntervalSeconds'])
  t.same(await labels('teams'), ['url'], 'where nothing is edited, progress is not told')
  t.same(await labels('email'), ['to'])
  t.same(await labels('slack'), ['token', 'channel', 'progressIntervalSeconds'])
  await page.locator('input[name=token]').fill('xoxb-secret')
  await page.locator('input[name=channel]').fill('C0123456789')
  await page.getByRole('button', { name: 'Anlegen' }).click()
  await page.locator('.destination').getByText('C0123456789').waitFor()
  t.notMatch(await page.content(), 'xoxb-secret')
  const { body } = await own.call<{ items: object[] }>('GET', '/webhooks')
  t.match(body.items, [
    {
      kind: 'slack',
      language: 'de',
      progressIntervalSeconds: 10,
      settings: { channel: 'C0123456789' },
      secretSet: true,
    },
  ])
})

t.test('whoever may not manage the tenant is offered no page of notifications, and told so there', async t => {
  const guarded = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const token = await mint({ features: ['progress.view'] })
  const { page, complaints } = await visit(t, browser, `${guarded.url}/notifications`)
  complaints.forgive(/401|403/)
  await page.getByLabel('Token').fill(token)
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByText('The token does not allow it.').waitFor()
  t.equal(await page.getByRole('link', { name: 'Notifications' }).count(), 0)
})
