import type { Page } from 'playwright-core'
import t from 'tap'
import { createTestDatabase } from '../helpers/database.ts'
import { startFront } from '../helpers/front.ts'
import { spawnService } from '../helpers/process.ts'
import { startService } from '../helpers/service.ts'
import { mint, SECRET, secondsFromNow } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { openBrowser, openPage, visit } from './browser.ts'

const browser = await openBrowser(t)

const connection = async (page: Page, state: string): Promise<void> => {
  await page.locator(`.connection[data-state=${state}]`).waitFor()
}

/** The messages of the browser about failed requests. */
const UNREACHABLE = /net::ERR_|Failed to load resource|WebSocket/

const openStreams = async (url: string): Promise<number> =>
  Number(/^headway_streams_open (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())?.[1])

t.test(
  'three tabs have one connection, and when the tab that holds it closes, another tab takes over and misses nothing',
  async t => {
    const service = await startService(t)
    const job = await service.createJob({ name: 'Shared', totalCount: 10 })
    const first = await visit(t, browser, service.url)
    const others = [await openPage(t, first.context, service.url), await openPage(t, first.context, service.url)]
    for (const { page } of [first, ...others]) await connection(page, 'live')
    t.equal(await openStreams(service.url), 1)
    await service.heartbeat(job.id, { processedCount: 3 })
    for (const { page } of [first, ...others]) await page.getByText('3 / 10').waitFor()
    await first.page.close()
    await service.heartbeat(job.id, { processedCount: 7 })
    for (const { page } of others) {
      await page.getByText('7 / 10').waitFor({ timeout: 5_000 })
      await connection(page, 'live')
    }
    await waitFor(async () => (await openStreams(service.url)) === 1)
  },
)

t.test(
  'after a kill of the service the page says reconnecting, then live, and shows the present state of the jobs',
  async t => {
    const database = await createTestDatabase(t)
    const settings = { DATABASE_URL: database.url, LOG_LEVEL: 'info' }
    const child = await spawnService(t, settings).ready()
    const other = await startService(t, { database })
    const stays = await other.createJob({ name: 'Goes on', totalCount: 100 })
    const ends = await other.createJob({ name: 'Ends meanwhile', totalCount: 100 })
    const { page, complaints } = await visit(t, browser, child.url)
    await page.getByRole('link', { name: 'Ends meanwhile' }).first().waitFor()
    await connection(page, 'live')
    await child.kill('SIGKILL')
    await connection(page, 'reconnecting')
    await page.getByText(/The connection is lost\. What you see is as of/).waitFor()
    await other.heartbeat(stays.id, { processedCount: 42 })
    await other.call('POST', `/jobs/${ends.id}/complete`, {})
    await other.createJob({ name: 'Made meanwhile' })
    t.equal(await page.getByText('42 / 100').count(), 0)
    const { port } = new URL(child.url)
    await spawnService(t, { ...settings, PORT: port }).ready()
    await connection(page, 'live')
    await page.getByText('42 / 100').waitFor()
    await page.getByRole('link', { name: 'Made meanwhile' }).waitFor()
    await page.locator('active-jobs').getByText('Ends meanwhile').waitFor({ state: 'detached' })
    await page.getByRole('complementary').getByText('Ends meanwhile').waitFor()
    t.equal(await page.getByText('The connection is lost').count(), 0)
    complaints.forgive(UNREACHABLE)
  },
)

t.test('where streams are blocked the page polls, says so, and goes back to the stream when it can', async t => {
  const service = await startService(t)
  const context = await browser.newContext()
  t.teardown(() => context.close())
  await context.route('**/api/progress/stream*', route => route.abort())
  const { page, complaints } = await openPage(t, context, service.url)
  await connection(page, 'polling')
  await page.getByText('Changes are asked for every 5 seconds').waitFor()
  await service.createJob({ name: 'Seen all the same' })
  await page.getByRole('row').getByRole('link', { name: 'Seen all the same' }).waitFor()
  t.equal(await openStreams(service.url), 0)
  await context.unroute('**/api/progress/stream*')
  await page.locator('.connection[data-state=live]').waitFor({ timeout: 45_000 })
  complaints.forgive(UNREACHABLE)
})

t.test('a reload shows the same page again, and no end of a job is missed', async t => {
  const service = await startService(t)
  const job = await service.createJob({ name: 'Long job', totalCount: 10 })
  await service.heartbeat(job.id, { processedCount: 4 })
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  await page.getByText('4 of 10').waitFor()
  await page.goto('about:blank')
  await service.call('POST', `/jobs/${job.id}/complete`, { resultSummary: { imported: 10 } })
  await page.goBack()
  await page.locator('.badge').getByText('Completed').waitFor()
  await page.getByText('"imported": 10').waitFor()
  await page.reload()
  await page.locator('.badge').getByText('Completed').waitFor()
})

t.test(
  'behind a proxy that puts the service below a path, every page works and no link leads out of the path',
  async t => {
    const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
    const token = await mint()
    const front = await startFront(t, service.url, { prefix: '/tools/headway' })
    const root = `${front.url}/tools/headway/`
    const { page, complaints } = await visit(t, browser, root)
    await page.getByLabel('Token', { exact: true }).fill(token)
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByText(`curl '${root}api/progress/jobs'`).waitFor()
    const job = await service.as(token).createJob({ name: 'Below a path', totalCount: 10 })
    await page.getByRole('row').getByRole('link', { name: 'Below a path' }).click()
    await page.getByRole('heading', { level: 1, name: 'Below a path' }).waitFor()
    t.equal(page.url(), `${root}jobs/${job.id}`)
    await page.reload()
    await service.as(token).heartbeat(job.id, { processedCount: 4 })
    await page.getByText('4 of 10').waitFor()
    await connection(page, 'live')
    await page.locator('canvas').first().waitFor()
    await page.getByRole('link', { name: 'Statistics' }).click()
    await page.getByText('No job finished in this time').waitFor()
    t.equal(page.url(), `${root}statistics`)
    await page.getByRole('navigation', { name: 'Dashboard' }).getByRole('link', { name: 'Jobs' }).click()
    await page.getByRole('row').filter({ hasText: 'Below a path' }).waitFor()
    t.equal(page.url(), root)
    const links = await page.locator('a[href]').evaluateAll(all => all.map(link => (link as HTMLAnchorElement).href))
    t.same(
      links.filter(link => !link.startsWith(root)),
      [],
    )
    complaints.forgive(/401/)
    // Swagger's page would add one style, and does without it.
    complaints.forgive(/Applying inline style|style-src-elem refused inline at .*swagger-ui-bundle/)
    await page.goto(`${root}docs#/operations/isAlive`)
    await page.getByRole('link', { name: `${root}docs/json` }).waitFor()
    await page.getByRole('button', { name: 'Try it out' }).click()
    await page.getByRole('button', { name: 'Execute' }).click()
    await page.locator('.live-responses-table').getByText('200', { exact: true }).waitFor()
    t.equal(await page.locator('.request-url pre').innerText(), `${root}healthz`)
  },
)

t.test(
  'a page of a service with tokens asks for one, keeps it for this tab only, and refuses a text that is no token',
  async t => {
    const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
    const token = await mint({ features: ['progress.view'] })
    await service.as(await mint({ ...claimsOf(token), features: ['progress.*'] })).createJob({
      name: 'Secret job',
      cancellable: true,
    })
    const { page, context, complaints } = await visit(t, browser, service.url)
    await page.getByRole('heading', { name: 'This service asks for a token' }).waitFor()
    const enter = async (text: string) => {
      await page.getByLabel('Token', { exact: true }).fill(text)
      await page.getByRole('button', { name: 'Continue' }).click()
    }
    await enter('something else')
    await page.getByText('That is no JSON Web Token').waitFor()
    await enter(`${token}x`)
    await page.getByText('The service refused this token').waitFor()
    await enter(`Bearer ${token}`)
    await page.getByRole('link', { name: 'Secret job' }).waitFor()
    t.equal(await page.getByRole('button', { name: 'Cancel Secret job' }).count(), 0, 'the token does not allow it')
    t.same(await page.evaluate(() => [document.cookie, Object.values(localStorage).join().includes('eyJ')]), [
      '',
      false,
    ])
    await page.reload()
    await page.getByRole('link', { name: 'Secret job' }).waitFor()
    const other = await openPage(t, context, service.url)
    await other.page.getByRole('heading', { name: 'This service asks for a token' }).waitFor()
    other.complaints.forgive(/401/)
    await page.getByRole('button', { name: 'Forget the token' }).click()
    await page.getByRole('heading', { name: 'This service asks for a token' }).waitFor()
    t.equal(await page.evaluate(() => sessionStorage.length), 0)
    complaints.forgive(/401/)
  },
)

t.test('the page asks anew for a token that expires, and shows the jobs as they were until then', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const tenant = claimsOf(await mint()).tenant_id
  const long = await mint({ tenant_id: tenant })
  const job = await service.as(long).createJob({ name: 'Still here', totalCount: 10 })
  const { page, complaints } = await visit(t, browser, service.url)
  await page.getByRole('heading', { name: 'This service asks for a token' }).waitFor()
  // Made after the page has loaded: the time that a busy machine takes for that must not count.
  await page
    .getByLabel('Token', { exact: true })
    .fill(await mint({ tenant_id: tenant, exp: Math.ceil(secondsFromNow(8)) }))
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('link', { name: 'Still here' }).waitFor()
  await page.getByRole('heading', { name: 'The token is no longer accepted' }).waitFor()
  await page.getByRole('link', { name: 'Still here' }).waitFor()
  await service.as(long).heartbeat(job.id, { processedCount: 6 })
  await page.getByLabel('Token', { exact: true }).fill(long)
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByText('6 / 10').waitFor()
  await connection(page, 'live')
  complaints.forgive(/401/)
})

/** The claims of a token. */
function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, unknown>
}
