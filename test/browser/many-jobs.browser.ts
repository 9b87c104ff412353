import t from 'tap'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { openBrowser, visit } from './browser.ts'

const JOBS = 1_000
const SECONDS = 4

/** Of the page's thread, for a thousand changes and the frames that show them: by its own time, since others share this machine. */
const MOST_CPU_MS = 400
const MOST_LAYOUTS_PER_FRAME = 1

const browser = await openBrowser(t)

t.test(
  'a page with a thousand changing jobs draws few rows, does little work, and makes one layout a frame',
  async t => {
    const service = await startService(t)
    await service.database.pool.query(
      `INSERT INTO progress_jobs (tenant_id, job_type, name, status, total_count, processed_count, unit, started_at, heartbeat_at, advanced_at, liveness,
       heartbeat_timeout_seconds)
     SELECT tenant_id, 'many', 'Job ' || n, 'running', 1000, 0, 'rows', now(), now(), now(), 'ok', 0
     FROM progress_jobs, generate_series(1, $2) n WHERE id = $1`,
      [(await service.createJob({ name: 'One' })).id, JOBS - 1],
    )
    const { page, context } = await visit(t, browser, service.url)
    await page.getByRole('button', { name: /^All 1,000$/ }).waitFor()
    t.equal(await page.getByRole('table').getAttribute('aria-rowcount'), String(JOBS + 1))

    const { body } = await service.call<{ items: { id: string }[]; total: number }>('GET', '/jobs?pageSize=1')
    t.equal(body.total, JOBS)
    const { rows } = await service.database.pool.query<{ id: string }>('SELECT id FROM progress_jobs')
    let done = 0
    const report = async () => {
      done += 7
      for (let from = 0; from < rows.length; from += JOBS) {
        const heartbeats = rows
          .slice(from, from + JOBS)
          .map(({ id }) => ({ jobId: id, processedCount: done, totalCount: 1_000 }))
        const reply = await service.call<{ results?: { code?: string }[] }>('POST', '/heartbeats', { heartbeats })
        const refused = reply.body.results?.find(({ code }) => code !== undefined)
        // 202: the machine is busy, and it is written later.
        if (reply.status > 202 || refused) throw new Error(JSON.stringify(refused ?? reply.body))
      }
    }
    await report()
    await page.getByText(`${done} / 1,000 rows`).first().waitFor()

    const session = await context.newCDPSession(page)
    await session.send('Performance.enable', { timeDomain: 'threadTicks' })
    const metric = async (name: string): Promise<number> => {
      const { metrics } = await session.send('Performance.getMetrics')
      return metrics.find(each => each.name === name)?.value ?? NaN
    }
    await page.evaluate(() => {
      const measured = { frames: 0 }
      Object.assign(globalThis, { measured })
      const count = () => {
        measured.frames += 1
        requestAnimationFrame(count)
      }
      requestAnimationFrame(count)
    })
    const layoutsBefore = await metric('LayoutCount')
    const workBefore = await metric('TaskDuration')
    const end = Date.now() + SECONDS * 1000
    let mostRows = 0
    let reports = 0
    for (let step = 0; Date.now() < end; step += 1) {
      await report()
      reports += 1
      await page.mouse.wheel(0, step % 2 === 0 ? 1_500 : -900)
      mostRows = Math.max(mostRows, await page.locator('.row').count())
    }
    const layouts = (await metric('LayoutCount')) - layoutsBefore
    const cpuMs = (1000 * ((await metric('TaskDuration')) - workBefore)) / reports
    const { frames } = await page.evaluate(() => (globalThis as unknown as { measured: { frames: number } }).measured)
    t.comment(
      `${frames} frames, ${layouts} layouts, ${Math.round(cpuMs)} ms of work for each of ${reports} × ${JOBS} changes, ${mostRows} rows`,
    )
    t.ok(mostRows < 60, `${mostRows} of ${JOBS} rows are in the document`)
    t.ok(layouts / frames <= MOST_LAYOUTS_PER_FRAME, `${layouts} layouts in ${frames} frames`)
    t.ok(cpuMs < MOST_CPU_MS, `a thousand changes took ${Math.round(cpuMs)} ms`)
    await page.evaluate(() => scrollTo(0, 0))
    await page.getByText(`${done} / 1,000 rows`).first().waitFor()
    await waitFor(async () => (await page.locator('.row').count()) > 5)

    await service.createJob({ name: 'One too many' })
    // The stream has brought it, so nothing that is still on its way brings it after the reload.
    await page.getByRole('button', { name: /^All 1,001$/ }).waitFor()
    // The oldest is the one that is left out. What changed within a minute before a snapshot comes by the stream as well.
    await service.database.pool.query(
      `UPDATE progress_jobs SET created_at = created_at - interval '1 hour', updated_at = updated_at - interval '1 hour'
     WHERE name = 'One too many'`,
    )
    await page.reload()
    await page.getByText('1,000 of 1,001 active jobs are here.').waitFor()
    await page.getByLabel('Filter by text').fill('one too')
    await page.getByRole('link', { name: 'Page through all of them' }).click()
    await page.getByRole('navigation', { name: 'Pages' }).getByText('1 job found').waitFor()
    t.equal(await page.getByLabel('Name').inputValue(), 'one too')
    await page.getByLabel('Name').fill('')
    await page.getByRole('navigation', { name: 'Pages' }).getByText('1,001 jobs found').waitFor()
    await page.getByText('Page 1 of 21').waitFor()
    await page.getByRole('link', { name: 'Next' }).click()
    await page.getByText('Page 2 of 21').waitFor()

    await page.goto(service.url)
    const notice = page.getByText('1,000 of 1,001 active jobs are here.')
    await notice.waitFor()
    // The stream brings the jobs that were left out when they change.
    rows.push(
      ...(await service.database.pool.query<{ id: string }>(`SELECT id FROM progress_jobs WHERE name = 'One too many'`))
        .rows,
    )
    await report()
    await notice.waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'All 1,001' }).waitFor()
  },
)
