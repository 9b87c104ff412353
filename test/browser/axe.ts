import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults, RunOptions } from 'axe-core'
import type { Page } from 'playwright-core'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export const EVERYTHING: RunOptions = { resultTypes: ['violations'] }

/** The violations that axe finds in the page, one line for each element. */
export const violations = async (page: Page, options: RunOptions = EVERYTHING): Promise<string[]> => {
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
