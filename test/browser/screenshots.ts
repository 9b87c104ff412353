// Takes the pictures of the README: `npm run screenshots`. They are written to docs/images/.
import { mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { openBrowser, visit } from './browser.ts'
import { makeSampleJobs } from './sample-jobs.ts'

const FOLDER = fileURLToPath(new URL('../../docs/images/', import.meta.url))
const WIDE = { width: 1440, height: 900 }
const NARROW = { width: 390, height: 844 }

/** The charts have drawn and fonts are there: what is taken is what a visitor sees. */
const settle = async (page: Page): Promise<void> => {
  await page.waitForFunction(() => document.querySelector('.loading') === null)
  await page.waitForTimeout(900)
}

t.test('pictures of every page', async t => {
  mkdirSync(FOLDER, { recursive: true })
  const service = await startService(t, {})
  const { featured, failed, batch, proposals, refresh } = await makeSampleJobs(service)
  const browser = await openBrowser(t)
  const shots: [name: string, path: string, act?: (page: Page) => Promise<void>][] = [
    ['jobs', '/', page => page.getByRole('button', { name: 'Show the partitions of Reindex products' }).click()],
    ['job', `/jobs/${featured.id}`],
    ['job-failed', `/jobs/${failed.id}`],
    ['batch', `/jobs/${batch.id}`],
    ['stages', `/jobs/${proposals.id}`],
    ['history', '/?view=history'],
    ['statistics', '/statistics'],
  ]
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const [size, viewport] of [
      ['', WIDE],
      ['-narrow', NARROW],
    ] as const) {
      const { page } = await visit(t, browser, service.url, { colorScheme, viewport, deviceScaleFactor: 1 })
      for (const [name, path, act] of shots) {
        await refresh()
        await page.goto(service.url + path)
        await settle(page)
        if (act) {
          await act(page)
          await settle(page)
        }
        await page.screenshot({ path: `${FOLDER}${name}-${colorScheme}${size}.png` })
      }
    }
  }
})
