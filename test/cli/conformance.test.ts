import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { processTable } from '../../src/cli/command/process-table.ts'
import type { Call, CallKind } from '../../src/cli/conformance/call.ts'
import * as rules from '../../src/cli/conformance/rules.ts'
import type { Observed, Rule } from '../../src/cli/conformance/rules.ts'
import { spawnHeadway } from '../helpers/headway.ts'
import { waitFor } from '../helpers/wait.ts'

const sent = (kind: CallKind, at: number, more: Partial<Call> & { body?: Record<string, unknown> } = {}): Call => {
  const body = { attempt: 1, ...more.body }
  return {
    at,
    answeredAt: at + 10,
    kind,
    text: kind,
    reports: kind === 'report' ? [{ workerId: 'default', body }] : [],
    hasToken: true,
    status: 200,
    code: null,
    retryAfterSeconds: null,
    isTaken: true,
    asksToStop: false,
    ...more,
    body,
  }
}
const read = sent('read', 0)
const report = (at: number, more: Parameters<typeof sent>[2] = {}) => sent('report', at, more)
const counted = (at: number, processedCount: number) => report(at, { body: { processedCount } })
const refused = (at: number, status: number, code: string, more: Partial<Call> = {}) =>
  report(at, { status, code, isTaken: false, ...more })
const end = (at: number, more: Parameters<typeof sent>[2] = {}) => sent('complete', at, more)
const asked = report(2_000, { asksToStop: true })
const without = (call: Call): Call => {
  const body: Record<string, unknown> = { processedCount: 1 }
  return { ...call, body, reports: call.reports.map(each => ({ ...each, body })) }
}
const at = (seconds: number) => new Date(Date.UTC(2026, 0, 31, 12, 0, seconds)).toISOString()

const seen = (calls: readonly Call[], more: Partial<Observed> = {}): Observed => ({
  calls,
  hasEnded: true,
  exitCode: 0,
  endedAt: 10_000,
  heartbeatIntervalMs: 1_000,
  ...more,
})

/** For each rule: a worker that holds it, workers that break it, and one that never comes to it. */
const CASES: [rule: Rule, held: Observed[], broken: Observed[], never?: Observed[]][] = [
  [rules.REPORTS, [seen([report(1)])], [seen([]), seen([read])]],
  [rules.TOKEN, [seen([report(1)])], [seen([report(1), report(2, { hasToken: false })])]],
  [
    rules.ABSOLUTE,
    [
      seen([counted(1, 5), counted(2, 5), report(3), counted(4, 9)]),
      seen([
        report(1, { body: { stage: 'a', processedCount: 5 } }),
        report(2, { body: { stage: 'b', processedCount: 1 } }),
        report(3, { body: { stage: 'b', unit: 'rows', processedCount: 0 } }),
      ]),
      seen([
        report(1, { body: { processedCount: 5, reportedAt: at(2) } }),
        report(2, { body: { processedCount: 4, reportedAt: at(1) } }),
      ]),
    ],
    [seen([counted(1, 5), counted(2, 4)]), seen([report(1, { body: { increment: 1 } })])],
  ],
  [
    rules.ATTEMPT,
    [seen([read, report(20), end(30)]), seen([without(report(1)), sent('start', 5), report(20)])],
    [seen([read, without(report(20))]), seen([without(report(1))]), seen([read, report(20), without(end(30))])],
  ],
  [
    rules.ORDER,
    [
      seen([report(1), report(20)]),
      seen([report(1, { answeredAt: 500, body: { reportedAt: at(1) } }), report(20, { body: { reportedAt: at(2) } })]),
      seen([report(1, { answeredAt: 500, body: { reportedAt: at(2) } }), report(20, { body: { reportedAt: at(1) } })]),
    ],
    [
      seen([report(1, { answeredAt: 500 }), report(20)]),
      seen([report(1, { body: { reportedAt: at(2) } }), report(20, { body: { reportedAt: at(1) } })]),
    ],
  ],
  [
    rules.CADENCE,
    [seen([read, report(2_400), end(4_900)])],
    [seen([report(0), report(2_600)]), seen([read, report(7_000), end(8_000)])],
  ],
  [
    rules.CALM,
    [seen(Array.from({ length: 30 }, (_, n) => report(n * 500)))],
    [
      seen([
        ...Array.from({ length: 5 }, (_, n) => report(n * 1_000)),
        ...Array.from({ length: 9 }, (_, n) => report(4_000 + n)),
      ]),
    ],
  ],
  [
    rules.ONE_AT_A_TIME,
    [seen([report(0, { answeredAt: 100 }), report(10, { answeredAt: 110 }), report(105)])],
    [seen([report(0, { answeredAt: 100 }), report(10, { answeredAt: 110 }), report(20)])],
  ],
  [
    rules.COMPLETES,
    [seen([report(0), end(10)])],
    [seen([report(0)]), seen([end(10)], { hasEnded: false }), seen([end(10)], { exitCode: 1 })],
  ],
  [
    rules.ONE_END,
    [seen([end(10)]), seen([end(10, { status: null, answeredAt: null, isTaken: false }), end(500)])],
    [seen([report(1)]), seen([end(10), end(500)]), seen([end(10), report(500)]), seen([end(1, { isTaken: false })])],
  ],
  [
    rules.END_ONCE_MORE,
    [seen([end(10, { status: null }), end(500, { status: 409, isTaken: false })])],
    [seen([]), seen([end(10, { status: null })]), seen(Array.from({ length: 9 }, (_, n) => end(n)))],
  ],
  [
    rules.RETRY_AFTER,
    [seen([refused(0, 503, 'overloaded', { retryAfterSeconds: 2 }), report(40), report(2_100)])],
    [seen([refused(0, 429, 'rate_limited', { retryAfterSeconds: 2 }), report(1_000)])],
    [seen([report(1)])],
  ],
  [
    rules.STOPS,
    [seen([asked, sent('cancelled', 3_000)])],
    [
      seen([asked, report(3_000)]),
      seen([asked, sent('fail', 3_000)]),
      seen([asked, sent('cancelled', 30_000)], { endedAt: 30_000 }),
      seen([asked, sent('cancelled', 3_000)], { hasEnded: false }),
    ],
    [seen([report(1)]), seen([asked, end(3_000)])],
  ],
  [
    rules.SUPERSEDED,
    [seen([read, report(20), refused(1_000, 409, 'superseded')])],
    [
      seen([
        read,
        refused(1_000, 409, 'superseded'),
        refused(2_000, 409, 'superseded'),
        refused(3_000, 409, 'superseded'),
      ]),
      seen([read, refused(1_000, 409, 'superseded'), end(2_000)]),
      seen([read, without(report(20))]),
      seen([read, refused(1_000, 409, 'superseded')], { hasEnded: false }),
    ],
    [seen([read, report(20)])],
  ],
  [
    rules.GONE,
    [seen([refused(1_000, 404, 'job_not_found'), sent('fail', 2_000, { isTaken: false })])],
    [seen([1, 2, 3, 4].map(second => refused(second * 1_000, 404, 'job_not_found')))],
    [seen([report(1)])],
  ],
  [
    rules.REFUSED,
    [seen([refused(1_000, 401, 'unauthenticated'), refused(6_000, 401, 'unauthenticated')])],
    [seen(Array.from({ length: 50 }, (_, n) => refused(1_000 + n, 401, 'unauthenticated')))],
    [seen([report(1)])],
  ],
]

for (const [rule, held, broken, never = []] of CASES) {
  t.test(`conformance: ${rule.sentence}`, async t => {
    for (const each of held) t.equal(rule.judge(each), true)
    for (const each of broken) t.type(rule.judge(each), 'string')
    for (const each of never) t.equal(rule.judge(each), null)
  })
}

t.test('every rule has a worker that breaks it', async t => {
  t.equal(new Set(CASES.map(([rule]) => rule)).size, Object.keys(rules).length)
})

const run = (t: Test, args: string[]) => spawnHeadway(t, ['conformance', '--work', '2s', ...args], {}).ended

t.test(
  'headway conformance ends with 0 where every rule held, with 1 where one did not, and with 2 for no command',
  async t => {
    const worker = `
    const { HEADWAY_URL, HEADWAY_JOB_ID, HEADWAY_TOKEN, LAZY } = process.env
    const call = async (path, body) => {
      const response = await fetch(HEADWAY_URL + '/api/progress/jobs/' + HEADWAY_JOB_ID + path, {
        method: body ? 'POST' : 'GET',
        headers: { authorization: 'Bearer ' + HEADWAY_TOKEN, 'content-type': 'application/json' },
        body: body && JSON.stringify(body),
      })
      return response.json()
    }
    const { attempt } = await call('')
    for (const processedCount of LAZY ? [1, 0] : [1, 2]) {
      await call('/heartbeat', { attempt, processedCount })
      await new Promise(resolve => setTimeout(resolve, 600))
    }
    await call('/complete', { attempt })`
    const script = join(t.testdir({ 'worker.mjs': worker }), 'worker.mjs')
    const [good, bad, none] = await Promise.all([
      run(t, ['--only', 'good', '--', process.execPath, script]),
      run(t, ['--only', 'good', '--json', '--', 'env', 'LAZY=1', process.execPath, script]),
      run(t, ['--', 'no-such-worker']),
    ])
    t.equal(good.code, 0, good.stdout)
    t.match(good.stdout, /held {7}It sends its token[^]*\n9 held, 0 broken, 0 not tried\.\n$/)
    t.equal(bad.code, 1)
    const { held, findings } = JSON.parse(bad.stdout) as { held: boolean; findings: { finding: unknown }[] }
    t.equal(held, false)
    t.same(
      findings.map(({ finding }) => finding).filter(finding => finding !== true),
      ['default reported 1, and 0 afterwards.'],
    )
    t.equal(none.code, 2)
    t.match(none.stderr, /^no-such-worker could not be started/)
  },
)

t.test('headway conformance that is told to stop ends the workers that it has started', async t => {
  const file = join(t.testdir(), 'pids')
  const script = `echo $$ >>'${file}'; exec sleep 600`
  const args = ['conformance', '--jobs', '2', '--only', 'good', '--only', 'slow', '--', 'sh', '-c', script]
  const { child, ended } = spawnHeadway(t, args, {})
  const pids = await waitFor(
    () => {
      const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
      return lines.length === 2 ? lines.map(Number) : null
    },
    { timeoutMs: 20_000 },
  )
  child.kill('SIGINT')
  t.equal((await ended).code, 130)
  for (const pid of pids ?? []) t.equal(processTable.find(pid), null)
})

t.test('a worker that cannot be started is told, whatever the system says', async t => {
  const { code, stderr } = await run(t, ['--only', 'good', '--', '/etc/passwd/x'])
  t.equal(code, 2)
  t.match(stderr, /^\/etc\/passwd\/x could not be started/)
})

t.test('a worker reaches the suite also where a proxy is set', async t => {
  const script =
    'curl -s -H "Authorization: Bearer $HEADWAY_TOKEN" --json "{}" $HEADWAY_URL/api/progress/jobs/$HEADWAY_JOB_ID/heartbeat'
  const args = ['conformance', '--work', '1s', '--only', 'good', '--json', '--', 'sh', '-c', script]
  const { stdout } = await spawnHeadway(t, args, { http_proxy: 'http://127.0.0.1:9' }).ended
  const { findings } = JSON.parse(stdout) as { findings: { rule: string; finding: unknown }[] }
  t.match(findings, [{ rule: 'It reports.', finding: true }])
})
