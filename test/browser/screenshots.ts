// Takes the pictures of the manual: `npm run screenshots`. They are written to docs/images/.
import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { SECRET } from '../helpers/tokens.ts'
import { openBrowser, visit } from './browser.ts'
import { messagePage } from './message-pictures.ts'
import { makeSampleDestinations, SEALING } from './sample-destinations.ts'
import { makeSampleJobs } from './sample-jobs.ts'
import { makeSampleWeek } from './sample-week.ts'

const FOLDER = fileURLToPath(new URL('../../docs/images/', import.meta.url))
const WIDE = { width: 1440, height: 900 }
const NARROW = { width: 390, height: 844 }

/** Waits until charts are drawn and fonts are loaded, so that the picture shows the page as a visitor sees it. */
const settle = async (page: Page): Promise<void> => {
  await page.waitForFunction(() => document.querySelector('.loading') === null)
  await page.waitForTimeout(900)
}

/** Small enough to be read and loaded with a page. */
const MOST_BYTES = 230_000

t.test('pictures of every page', async t => {
  mkdirSync(FOLDER, { recursive: true })
  const service = await startService(t, SEALING)
  const { featured, failed, batch, proposals, refresh } = await makeSampleJobs(service)
  await makeSampleDestinations(service)
  const week = await startService(t)
  await makeSampleWeek(week)
  const browser = await openBrowser(t)
  const fresh = await startService(t)
  const locked = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const shots: [name: string, address: string, act?: (page: Page) => Promise<void>][] = [
    [
      'jobs',
      service.url,
      page => page.getByRole('button', { name: 'Show the partitions of Reindex products' }).click(),
    ],
    ['job', `${service.url}/jobs/${featured.id}`],
    ['job-failed', `${service.url}/jobs/${failed.id}`],
    ['batch', `${service.url}/jobs/${batch.id}`],
    ['stages', `${service.url}/jobs/${proposals.id}`],
    ['history', `${service.url}/?view=history`],
    ['statistics', `${week.url}/statistics`],
    ['type', `${week.url}/types?name=import:products`],
    [
      'since',
      service.url,
      async page => {
        await page.evaluate(() =>
          localStorage.setItem('headway.looks /', JSON.stringify({ lastMs: Date.now() - 3_600_000 })),
        )
        await page.reload()
        await page.locator('.since summary').first().click()
        await page.locator('.failure-groups summary').first().click()
      },
    ],
    ['tour', fresh.url],
    [
      'notifications',
      `${service.url}/notifications`,
      page => page.getByRole('region', { name: 'Order system' }).getByRole('button', { name: 'Deliveries' }).click(),
    ],
    ['token', locked.url],
  ]
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const [size, viewport] of [
      ['', WIDE],
      ['-narrow', NARROW],
    ] as const) {
      const { page, complaints } = await visit(t, browser, service.url, { colorScheme, viewport, deviceScaleFactor: 1 })
      for (const [name, address, act] of shots) {
        await refresh()
        await page.goto(address)
        await settle(page)
        if (act) {
          await act(page)
          await settle(page)
        }
        const picture = await page.screenshot({ path: `${FOLDER}${name}-${colorScheme}${size}.png` })
        t.ok(picture.length < MOST_BYTES, `${name} is ${picture.length} bytes large`)
      }
      // The page that asks for a token has tried without one.
      complaints.forgive(/status of 401/)
    }
  }
})

t.test('a picture of the messages of each platform', async t => {
  const service = await startService(t)
  const { featured, failed } = await makeSampleJobs(service)
  const jobs = await Promise.all([featured, failed].map(({ id }) => service.job(id)))
  const browser = await openBrowser(t)
  const page = await browser.newPage({ viewport: { width: 1200, height: 100 }, deviceScaleFactor: 1 })
  await page.setContent(messagePage(jobs, 'en', Date.now()))
  const picture = await page.screenshot({ path: `${FOLDER}messages.png`, fullPage: true })
  t.ok(picture.length < MOST_BYTES, `${picture.length} bytes`)
})
