import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Locator, Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { waitFor } from '../helpers/wait.ts'
import { startService } from '../helpers/service.ts'
import type { Service } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { violations } from './axe.ts'
import { openBrowser, visit } from './browser.ts'
import { finishedJob, runningJob } from './fixtures.ts'

const browser = await openBrowser(t)
const shell = promisify(execFile)

const row = (page: Page, name: string): Locator => page.getByRole('row').filter({ hasText: name })

/** Waits until the element holds the text. */
const holds = async (locator: Locator, text: string | RegExp): Promise<void> => {
  await locator.filter({ hasText: text }).first().waitFor()
}

/** The page breaks no rule of accessibility, and is not wider than its window, at 1280 and at 390. */
const fits = async (t: Test, page: Page, name: string): Promise<void> => {
  for (const width of [1280, 390, 320]) {
    await page.setViewportSize({ width, height: 900 })
    // 320 is 1280 at 400 %: what holds at 390 holds there as well, if there is room.
    if (width !== 320) t.same(await violations(page), [], `${name} at ${width}`)
    // A chart takes its new width a frame after the window has it.
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    await waitFor(async () => (await overflow()) <= 0).catch(() => undefined)
    t.ok((await overflow()) <= 0, `${name} at ${width}: ${await overflow()}`)
  }
  await page.setViewportSize({ width: 1280, height: 900 })
}

const DAY_MS = 86_400_000

const end = { secondsAgo: 60, took: 30, processed: 5 }

const fail = (service: Service, name: string, errorMessage: string, jobType = 'import') =>
  finishedJob(service, { name, jobType, totalCount: 9 }, { ...end, how: 'fail', body: { errorMessage } })

t.test('a visitor who comes back is told what happened meanwhile, until it is marked as seen', async t => {
  const service = await startService(t)
  for (const [index, type] of ['import', 'import', 'sync'].entries()) {
    await fail(
      service,
      `Broken ${index}`,
      `Row ${index * 7} of 'file ${index}.csv' is malformed\n    at x (y.js:1)`,
      type,
    )
  }
  await fail(service, 'Full', 'Disk full')
  await finishedJob(service, { name: 'Well', jobType: 'sync', totalCount: 9 }, { ...end, how: 'complete' })
  const silent = await runningJob(
    service,
    { name: 'Silent', jobType: 'sync', totalCount: 9 },
    { secondsAgo: 60, processed: 5 },
  )
  await service.database.pool.query(
    `UPDATE progress_jobs SET liveness = 'stalled', revision = revision + 1 WHERE id = $1`,
    [silent.id],
  )
  const { page } = await visit(t, browser, `${service.url}/statistics`)
  // The last look at the jobs was an hour ago.
  await page.evaluate(() => localStorage.setItem('headway.looks /', JSON.stringify({ lastMs: Date.now() - 3_600_000 })))
  await page.getByRole('link', { name: 'Jobs', exact: true }).click()
  const since = page.getByRole('region', { name: 'Since you last looked' })
  await holds(since.locator('summary'), /^\s*Since .*: 1 completed, 4 failed, 1 still stalled\s*$/)
  await since.locator('summary').first().click()
  const groups = since.getByRole('list', { name: 'Failures by what went wrong' }).locator('> li')
  await holds(groups.first(), /3 ×\s+Row … of … is malformed\s+import, sync/)
  await holds(groups.nth(1), /1 ×\s+Disk full/)
  await groups.first().locator('summary').click()
  await groups.first().getByRole('link', { name: 'Broken 2' }).waitFor()
  await since.getByRole('link', { name: 'Silent' }).waitFor()
  await fits(t, page, 'since you last looked')
  await page.reload()
  await since.locator('summary').first().waitFor()
  await since.getByRole('button', { name: 'Mark as seen' }).click()
  await since.waitFor({ state: 'detached' })
  await page.reload()
  await row(page, 'Silent').waitFor()
  t.equal(await since.count(), 0)
  await page.evaluate(() => localStorage.setItem('headway.looks /', JSON.stringify({ lastMs: Date.now() - 3_600_000 })))
  await page.reload()
  await since.locator('summary').first().click()
  await groups.first().locator('summary').click()
  await groups.first().getByRole('link', { name: 'Show them in the history' }).click()
  await row(page, 'Broken 0').waitFor()
  t.equal(await row(page, 'Broken').count(), 3, 'and no other failure')
  t.match(page.url(), /error=is\+malformed/)
})

t.test('the history is filtered by time, user, error and id, and groups failures', async t => {
  const service = await startService(t)
  const old = await fail(service, 'Long ago', 'Row 1 is malformed')
  await service.age(old.id, 90_000)
  const recent = await fail(service, 'Lately', 'Row 2 is malformed')
  await fail(service, 'Otherwise', 'Disk full')
  await service.database.pool.query(`UPDATE progress_jobs SET started_by_user_id = 'auth0|7' WHERE id = $1`, [old.id])
  const { page } = await visit(t, browser, `${service.url}/?view=history`)
  await row(page, 'Long ago').waitFor()
  await page.locator('select[name=span]').selectOption('Last hour')
  await row(page, 'Long ago').waitFor({ state: 'detached' })
  await page.getByText('More filters').click()
  await page.getByLabel('Error holds').fill('MALFORMED')
  await page.getByLabel('Error holds').press('Enter')
  await row(page, 'Otherwise').waitFor({ state: 'detached' })
  await row(page, 'Lately').waitFor()
  t.match(page.url(), /span=hour&error=MALFORMED/)
  await page.locator('select[name=span]').selectOption('Any time')
  await row(page, 'Long ago').waitFor()
  await page.getByRole('button', { name: 'Group failures' }).click()
  await holds(page.locator('.failure-groups > li'), /2 ×\s+Row … is malformed/)
  t.equal(await page.locator('.failure-groups > li').count(), 1)
  await page.goto(`${service.url}/?view=history&by=auth0%7C7`)
  await holds(row(page, 'Long ago'), 'by \u2068auth0|7\u2069')
  t.equal(await row(page, 'Lately').count(), 0)
  await page.goto(`${service.url}/?view=history`)
  await page.getByLabel('Name or id').fill(recent.id)
  await row(page, 'Otherwise').waitFor({ state: 'detached' })
  await row(page, 'Lately').waitFor()
  await page.goto(`${service.url}/?view=history&from=2020-01-01T00:00:00.000Z&to=2020-02-01T00:00:00.000Z`)
  await page.getByText('No job fits these filters').waitFor()
  t.equal(
    await page.locator('input[name=from]').inputValue(),
    await page.evaluate(() => {
      const date = new Date('2020-01-01T00:00:00.000Z')
      return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
    }),
    'in the time of the visitor',
  )
})

t.test('several jobs are retried or erased at once, and the page says for which it did not work', async t => {
  const service = await startService(t)
  for (const name of ['One', 'Two', 'Three']) await fail(service, name, 'Disk full')
  const { page, complaints } = await visit(t, browser, `${service.url}/?view=history`)
  const choose = (name: string) => page.getByRole('checkbox', { name: `Choose ${name}`, exact: true })
  await row(page, 'One').getByRole('button', { name: 'Retry One' }).waitFor()
  await choose('One').check()
  await choose('Two').check()
  await page.getByRole('button', { name: 'Erase 2' }).click()
  const dialog = page.getByRole('dialog', { name: 'Erase 2 jobs?' })
  await dialog.getByRole('button', { name: 'Keep them as they are' }).click()
  await dialog.waitFor({ state: 'hidden' })
  t.equal(await row(page, 'Disk full').count(), 3)
  await page.getByRole('button', { name: 'Erase 2' }).click()
  await dialog.getByRole('button', { name: 'Erase' }).click()
  await row(page, 'Two').waitFor({ state: 'detached' })
  t.equal(await row(page, 'Disk full').count(), 1)
  for (const name of ['Four', 'Five']) await fail(service, name, 'Disk full')
  await row(page, 'Five').waitFor()
  await choose('all on this page').check()
  await page.getByText('3 jobs chosen').waitFor()
  await fits(t, page, 'history with chosen jobs')
  await page.getByRole('button', { name: 'Retry 3' }).click()
  const [four] = (await service.call<{ items: { id: string }[] }>('GET', '/jobs?status=failed&search=Four')).body.items
  await service.database.pool.query('DELETE FROM progress_jobs WHERE id = $1', [four?.id])
  const retry = page.getByRole('dialog', { name: 'Retry 3 jobs?' })
  await retry.getByRole('button', { name: 'Retry' }).click()
  await holds(retry, '2 jobs begin again. It did not work for one job:')
  await holds(retry.getByRole('listitem'), 'Four: The job is no longer there.')
  await retry.getByRole('button', { name: 'Close' }).click()
  await page.getByText('No job has finished yet').waitFor()
  complaints.forgive(/404/)
})

t.test('the page of a job says when it will be done, what is usual, and how the last run went', async t => {
  const service = await startService(t)
  const stages = [{ name: 'read' }, { name: 'write' }]
  const earlier = await finishedJob(
    service,
    { name: 'Earlier', jobType: 'nightly', totalCount: 50 },
    { secondsAgo: 900, took: 600, processed: 50, how: 'complete' },
  )
  const job = await runningJob(
    service,
    { name: 'Now', jobType: 'nightly', totalCount: 50 },
    { secondsAgo: 300, processed: 20 },
  )
  await service.database.pool.query(
    `UPDATE progress_jobs SET eta_seconds = 725, eta_source = 'history', eta_spread = 0.3, advanced_at = now(), updated_at = now(),
       expected_seconds = 600, long_seconds = 900, started_by_user_id = 'auth0|7', revision = revision + 1 WHERE id = $1`,
    [job.id],
  )
  const { page } = await visit(t, browser, `${service.url}/?type=nightly`, { timezoneId: 'Europe/Paris' })
  await holds(row(page, 'Now'), /for 5 min.*by \u2068auth0\|7\u2069/)
  t.match(await row(page, 'Now').locator('.left').getAttribute('title'), /^about 1[23] min \(8 to 18\), .*GMT\+\d/)
  await page.getByRole('link', { name: 'Now' }).click()
  const left = page.locator('.overview dd').filter({ hasText: 'mainly from earlier jobs of its type' })
  await holds(left, /about 1[23] min \(8 to 18\).*, .*\d+:\d\d/s)
  await holds(page.locator('.overview dd'), /\d\/(s|min|h)\s+lately/)
  t.match(
    await left.locator('time').getAttribute('title'),
    /\w+day, .* \d{4} .*GMT\+\d/,
    'the date in full, with the zone',
  )
  await page.getByRole('link', { name: 'The last run that completed' }).waitFor()
  t.equal(
    await page.getByRole('link', { name: 'The last run that completed' }).getAttribute('href'),
    `/jobs/${earlier.id}`,
  )
  await page.locator('canvas').first().waitFor()
  t.same(await page.locator('main time:not([title])').count(), 0, 'every time has its date and zone')
  await fits(t, page, 'a job with an earlier run')
  await page.getByRole('link', { name: 'usually 10 min' }).click()
  await page.getByRole('heading', { level: 1, name: 'nightly' }).waitFor()
  for (const secondsAgo of [1_000, 500]) {
    const staged = await service.createJob({ name: `Staged ${secondsAgo}`, jobType: 'staged', stages })
    for (const stage of ['read', 'write']) await service.heartbeat(staged.id, { stage })
    await service.call('POST', `/jobs/${staged.id}/complete`, {})
    // Reading took a minute, and writing took two.
    await service.database.pool.query(
      `UPDATE job_events SET at = now() - make_interval(secs => $2) + CASE WHEN type = 'completed' THEN interval '180 seconds'
         WHEN data->>'stage' = 'write' THEN interval '60 seconds' ELSE interval '0 seconds' END WHERE job_id = $1`,
      [staged.id, secondsAgo],
    )
    await service.database.pool.query(
      `UPDATE progress_jobs SET started_at = now() - make_interval(secs => $2), finished_at = now() - make_interval(secs => $2 - 180) WHERE id = $1`,
      [staged.id, secondsAgo],
    )
    await page.goto(`${service.url}/jobs/${staged.id}`)
  }
  await holds(page.locator('.stages li').first(), '60 s · last time 60 s')
  await holds(page.locator('.stages li').nth(1), '2 min · last time 2 min')
})

t.test('a job from which nobody is heard says for how long, and when it will be ended', async t => {
  const service = await startService(t)
  const job = await runningJob(
    service,
    { name: 'Silent', jobType: 'quiet', totalCount: 9, heartbeatTimeoutSeconds: 86_400 },
    { secondsAgo: 600, processed: 5 },
  )
  await service.database.pool.query(
    `UPDATE progress_jobs SET liveness = 'stalled', heartbeat_at = now() - interval '3 hours', revision = revision + 1 WHERE id = $1`,
    [job.id],
  )
  const { page } = await visit(t, browser, `${service.url}/jobs/${job.id}`)
  await page.getByText('silent for 3 h, will be ended in 21 h').waitFor()
  const alive = await service.createJob({ name: 'Alive', jobType: 'quiet' })
  await service.heartbeat(alive.id, {})
  await page.goto(`${service.url}/jobs/${alive.id}`)
  await page.getByRole('img', { name: /^1 heartbeat is known between/ }).waitFor()
  t.equal(await page.locator('canvas').count(), 0, 'no flat line at 0 %')
  await service.heartbeat(alive.id, {})
  await page.getByRole('img', { name: /^2 heartbeats are known between/ }).waitFor()
  await fits(t, page, 'the strip of heartbeats')
})

t.test(
  'the page of a type shows its last runs as dots that the keyboard reaches, and the share of failures',
  async t => {
    const service = await startService(t)
    await service.database.pool.query(`
    INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at, created_at, heartbeat_at,
      failure_reason, error_message, lifecycle)
    SELECT '00000000-0000-0000-0000-000000000000', 'a/b & <c>', 'Run ' || n, 60, outcome, at - n * interval '10 seconds', at, at, at,
      CASE WHEN outcome = 'failed' THEN 'worker' END, CASE WHEN outcome = 'failed' THEN 'Disk full' END, outcome
    FROM (SELECT n, now() - n * interval '1 hour' AS at, CASE WHEN n % 5 = 0 THEN 'failed' ELSE 'completed' END AS outcome
      FROM generate_series(1, 60) AS n) AS runs`)
    const { page } = await visit(t, browser, `${service.url}/types?name=${encodeURIComponent('a/b & <c>')}`)
    await page.getByRole('heading', { level: 1, name: 'a/b & <c>' }).waitFor()
    await page.locator('a.dot').first().waitFor()
    t.equal(await page.locator('a.dot').count(), 50)
    t.equal(await page.locator('a.dot[tabindex="0"]').count(), 1, 'one stop for all')
    await holds(page.locator('.facts-row'), /Failure rate\s*20%/)
    await page.locator('a.dot[tabindex="0"]').focus()
    await holds(page.locator('.readout'), /^\u2068Run 1\u2069 · Completed · 10\ss/)
    await page.keyboard.press('ArrowLeft')
    await holds(page.locator('.readout'), /^\u2068Run 2\u2069 · Completed · 20\ss/)
    const shapes = await page.locator('a.dot .mark').evaluateAll(marks => marks.map(mark => mark.innerHTML))
    t.equal(new Set(shapes).size, 2, 'the outcome is a shape')
    await fits(t, page, 'a type')
    await page.locator('a.dot[tabindex="0"]').press('Enter')
    await page.getByRole('heading', { level: 1, name: 'Run 2' }).waitFor()
    await page.getByRole('link', { name: 'a/b & <c>' }).first().click()
    await page.getByRole('heading', { level: 1, name: 'a/b & <c>' }).waitFor()
    await page.goto(`${service.url}/types?name=nothing`)
    await page.getByText('No job of this type has finished').waitFor()
  },
)

t.test('statistics show first what got slower since the period before', async t => {
  const service = await startService(t)
  await service.database.pool.query(`
    INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at, created_at, heartbeat_at, lifecycle)
    SELECT '00000000-0000-0000-0000-000000000000', type, 'x', 60, 'completed', at - took * interval '1 second', at, at, at, 'completed'
    FROM (VALUES ('many', 100, 100, 9), ('slow', 100, 150, 5), ('few', 100, 900, 2)) AS types (type, former, present, times),
      generate_series(1, types.times) AS n, LATERAL (VALUES (now() - interval '1 hour' * n, present), (now() - interval '7 days 1 hour' * 1 - interval '1 hour' * n, former)) AS ends (at, took)`)
  const { page } = await visit(t, browser, `${service.url}/statistics`)
  const rows = page.locator('.statistics tbody tr')
  await holds(rows.first(), /slow\s+Slower/)
  await holds(rows.first(), '+50%')
  await holds(rows.nth(1), /many.*0%/s)
  t.equal(await page.getByText('Slower').count(), 1)
})

t.test('the page of a type says since when it is slower, also if all of its last runs are', async t => {
  const service = await startService(t)
  // Six hours before noon in UTC, on each of the thirteen days before today: 100 seconds each, and 150 on the last five days.
  await service.database.pool.query(`
    INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at, created_at, heartbeat_at, lifecycle)
    SELECT '00000000-0000-0000-0000-000000000000', type, 'x', 60, 'completed', at - took * interval '1 second', at, at, at, 'completed'
    FROM generate_series(1, 13) AS day, generate_series(1, 12) AS n, (VALUES ('step', 150), ('even', 100)) AS types (type, present),
      LATERAL (VALUES (date_trunc('day', now(), 'UTC') - interval '1 day' * day + interval '30 minutes' * n, CASE WHEN day <= 5 THEN present ELSE 100 END)) AS ends (at, took)`)
  const { page } = await visit(t, browser, `${service.url}/types?name=step`)
  const day = (n: number) =>
    new Intl.DateTimeFormat('en-US', { month: 'short', day: 'numeric', timeZone: 'UTC' }).format(
      Date.now() - n * DAY_MS,
    )
  await holds(page.locator('type-page'), `since ${day(5)} (UTC): median 2 min 30 s, before that 1 min 40 s`)
  await holds(page.locator('type-page'), /7 days: median 2\smin 30\ss, \+50% since the period before/)
  t.equal(await page.locator('statistics-chart [data-part=mark]').count(), 1)
  await fits(t, page, 'a slower type')
  await page.getByRole('button', { name: '24 hours' }).click()
  await page.locator('statistics-chart [data-part=mark]').waitFor({ state: 'detached' })
  t.match(page.url(), /name=step&span=day/)
  await page.goto(`${service.url}/types?name=even`)
  await holds(page.locator('type-page'), /7 days: median 1\smin 40\ss, 0% since the period before/)
  t.equal(await page.getByText('Slower').count(), 0)
})

t.test(
  'the first visitor is led through the first job, with address and token filled in, and sees it beside',
  async t => {
    const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
    const token = await mint({ features: ['progress.*'] })
    const { page, complaints } = await visit(t, browser, service.url, {
      permissions: ['clipboard-read', 'clipboard-write'],
    })
    complaints.forgive(/status of 401/)
    await page.getByLabel('Token').fill(token)
    await page.getByRole('button', { name: 'Continue' }).click()
    const tour = page.getByRole('region', { name: 'Your first job in three steps' })
    const code = tour.locator('pre')
    await holds(code.first(), `curl '${service.url}/api/progress/jobs'`)
    await holds(code.first(), `Authorization: Bearer ${token}`)
    await tour.getByRole('button', { name: 'Copy: 1. Create' }).click()
    t.equal(await page.evaluate(() => navigator.clipboard.readText()), await code.first().textContent())
    await fits(t, page, 'the tour')
    await tour.getByRole('tab', { name: 'curl' }).press('ArrowRight')
    await holds(code.first(), `HEADWAY_URL='${service.url}'`)
    await tour.getByRole('tab', { name: 'Python' }).click()
    await holds(code.first(), 'import headway')
    await tour.getByRole('tab', { name: 'Node' }).click()
    await holds(code.first(), 'createWorker')
    await tour.getByRole('tab', { name: 'curl' }).click()
    /** Types what the page says into a shell. */
    const type = async (step: number) =>
      JSON.parse((await shell('sh', ['-c', (await code.nth(step).textContent()) ?? ''])).stdout) as { id: string }
    const { id } = await type(0)
    await tour.getByRole('link', { name: 'My first job' }).waitFor()
    await holds(code.nth(1), `/jobs/${id}/heartbeat`)
    t.equal(await tour.locator('[data-done]').count(), 1)
    await type(1)
    await holds(tour.locator('.tour-job'), /40%\s*Row 40/)
    t.equal(await tour.locator('[data-done]').count(), 2)
    await type(2)
    await tour.getByText('That is all').waitFor()
    t.equal(await tour.locator('[data-done]').count(), 3)
    await page.reload()
    await holds(page.getByRole('complementary'), 'My first job')
    t.equal(await tour.count(), 0, 'the next visit is no first one')
  },
)
