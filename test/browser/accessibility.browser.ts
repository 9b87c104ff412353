import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults, RunOptions } from 'axe-core'
import type { Page } from 'playwright-core'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { openBrowser, visit } from './browser.ts'
import { makeSampleJobs } from './sample-jobs.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

const EVERYTHING: RunOptions = { resultTypes: ['violations'] }
/** Dark and light differ in nothing else. */
const COLOURS: RunOptions = { ...EVERYTHING, runOnly: ['color-contrast', 'link-in-text-block'] }

/** What axe finds wrong with the page, one line for each element. */
const violations = async (page: Page, options: RunOptions): Promise<string[]> => {
  // Through the debugger, which the policy of the page does not bind.
  await page.evaluate(AXE)
  const results = await page.evaluate(
    options => (globalThis as unknown as { axe: { run: (options: object) => Promise<AxeResults> } }).axe.run(options),
    options as object,
  )
  return results.violations.flatMap(({ id, nodes }) =>
    nodes.map(node => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary ?? ''}`),
  )
}

const browser = await openBrowser(t)

t.test('axe finds nothing wrong with any page, light or dark, wide or narrow', async t => {
  const service = await startService(t)
  const { featured, failed, batch, proposals } = await makeSampleJobs(service)
  const empty = await startService(t)
  const locked = await startService(t, { AUTH_JWT_SECRET: SECRET })
  await mint()
  const pages: [name: string, url: string, ready: string][] = [
    ['jobs', service.url, '.row'],
    ['a job', `${service.url}/jobs/${featured.id}`, 'canvas'],
    ['a failed job', `${service.url}/jobs/${failed.id}`, '.error'],
    ['a batch', `${service.url}/jobs/${batch.id}`, '.row'],
    ['stages', `${service.url}/jobs/${proposals.id}`, '.stages'],
    ['history', `${service.url}/?view=history`, '.history-table'],
    ['statistics', `${service.url}/statistics`, '.statistics'],
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
