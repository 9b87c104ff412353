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

/** Debian's Chromium, closed when the test ends. `keepsPages`: it keeps pages that one leaves for going back, as it does for people. */
export const openBrowser = async (t: Test, { keepsPages = false } = {}): Promise<Browser> => {
  if (!existsSync(CHROMIUM)) {
    throw new Error(
      `There is no ${CHROMIUM}: \`apt-get update && apt-get install -y --no-install-recommends chromium\` brings it.`,
    )
  }
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: QUIET,
    ignoreDefaultArgs: keepsPages ? ['--disable-back-forward-cache'] : [],
  })
  t.teardown(() => browser.close())
  return browser
}

/** The errors of a page: uncaught errors, errors in the console, and violations of its policy. */
export class Complaints {
  readonly #all: string[] = []
  readonly #expected: RegExp[] = []

  add(complaint: string): void {
    this.#all.push(complaint)
  }

  /** Ignores errors that the test provokes, such as failed requests to a service that it kills. */
  forgive(expected: RegExp): void {
    this.#expected.push(expected)
  }

  get unforgiven(): string[] {
    return this.#all.filter(complaint => !this.#expected.some(expected => expected.test(complaint)))
  }
}

const everyone: { who: string; complaints: Complaints }[] = []

// Once all is over: a page may complain until it is closed, and a teardown that throws keeps the others from closing anything.
process.once('exit', () => {
  for (const { who, complaints } of everyone) {
    for (const complaint of new Set(complaints.unforgiven)) {
      console.error(`${who}: ${complaint}`)
      process.exitCode = 1
    }
  }
})

export interface Visit {
  page: Page
  context: BrowserContext
  complaints: Complaints
}

/** A page of a context. A file in which one has complained fails. */
export const openPage = async (t: Test, context: BrowserContext, url: string): Promise<Visit> => {
  const complaints = new Complaints()
  everyone.push({ who: `${t.name}, ${url}`, complaints })
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE_MS)
  page.on('pageerror', error => complaints.add(`${error.name}: ${error.message}`))
  page.on('console', message => {
    if (message.type() === 'error') complaints.add(`console: ${message.text()}`)
  })
  // Violations of the policy are in the console as well. This names the directive.
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', event => {
      console.error(`policy: ${event.violatedDirective} refused ${event.blockedURI} at ${event.sourceFile}`)
    })
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

/** Holds these requests back until the function that it answers is called. */
export const holdBack = async (page: Page, path: RegExp): Promise<() => void> => {
  let release = (): void => undefined
  const released = new Promise<void>(resolve => (release = resolve))
  await page.route(path, async route => {
    await released
    await route.continue()
  })
  return release
}

/** The address of the module without which a page of the dashboard shows nothing. */
export const shellOf = async (url: string): Promise<RegExp> => {
  const html = await fetch(url, { headers: { accept: 'text/html' } }).then(response => response.text())
  const main = await fetch(`${url}/dashboard/${/main-\w+\.js/.exec(html)?.[0]}`).then(response => response.text())
  const shell = /import\("\.\/([^"]+)"\)/.exec(main)?.[1]
  if (shell === undefined) throw new Error('main.ts imports nothing later.')
  return new RegExp(shell)
}
