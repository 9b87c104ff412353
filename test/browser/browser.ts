import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import type { Test } from 'tap'

const CHROMIUM = '/usr/bin/chromium'

/** Nothing that a browser does of its own accord: no updates, no accounts, no guesses. */
const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** A longer wait than any of these pages should need, on a machine that is busy with other tests. */
const PATIENCE_MS = 15_000

/** Debian's Chromium, closed when the test ends. */
export const openBrowser = async (t: Test): Promise<Browser> => {
  if (!existsSync(CHROMIUM)) {
    throw new Error(
      `There is no ${CHROMIUM}: \`apt-get update && apt-get install -y --no-install-recommends chromium\` brings it.`,
    )
  }
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: QUIET })
  t.teardown(() => browser.close())
  return browser
}

/** What a page complained of. A test that expects some of it takes it out. */
export class Complaints {
  /** Errors that nobody caught, errors in the console, and what the policy of the page refused. */
  readonly all: string[] = []

  /** Takes out what a test has provoked, such as failed requests of a service that it killed. */
  forgive(expected: RegExp): void {
    const rest = this.all.filter(complaint => !expected.test(complaint))
    this.all.splice(0, this.all.length, ...rest)
  }
}

export interface Visit {
  page: Page
  context: BrowserContext
  complaints: Complaints
}

/** A page of a context; at the end of the test it must not have complained. */
export const openPage = async (t: Test, context: BrowserContext, url: string): Promise<Visit> => {
  const complaints = new Complaints()
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE_MS)
  page.on('pageerror', error => complaints.all.push(`${error.name}: ${error.message}`))
  page.on('console', message => {
    if (message.type() === 'error') complaints.all.push(`console: ${message.text()}`)
  })
  // What the policy refuses is in the console as well; this names the directive.
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', event => {
      console.error(`policy: ${event.violatedDirective} refused ${event.blockedURI} at ${event.sourceFile}`)
    })
  })
  t.teardown(() => {
    if (complaints.all.length > 0) throw new Error(`${url} complained:\n${complaints.all.join('\n')}`)
  })
  await page.goto(url)
  return { page, context, complaints }
}

/** A visitor with a fresh profile, who looks at `url`. */
export const visit = async (
  t: Test,
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Visit> => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: 'en-US', ...options })
  t.teardown(() => context.close())
  return openPage(t, context, url)
}
