import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { withoutProxy } from '../../src/cli/channels/proxy.ts'
import { reportOfLine } from '../../src/cli/channels/line.ts'
import type { JobWithWorkers, ListedJob, Page } from '../../src/contract/job.ts'
import { spawnHeadway } from '../helpers/headway.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** What training frameworks send: with urllib, by these headers, to what they find in the environment. */
const TRAINING = `
import json, os, sys, time, urllib.error, urllib.request, ssl
from datetime import datetime, timezone

def send(status, token=None):
    status["lastUpdatedTime"] = datetime.now(timezone.utc).isoformat()
    context = ssl.create_default_context(cafile=os.environ["KUBEFLOW_TRAINER_SERVER_CA_CERT"])
    token = token or open(os.environ["KUBEFLOW_TRAINER_SERVER_TOKEN"]).read().strip()
    request = urllib.request.Request(
        os.environ["KUBEFLOW_TRAINER_SERVER_URL"],
        data=json.dumps({"trainerStatus": status}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code

def metrics(**values):
    return [{"name": name, "value": str(value)} for name, value in values.items()]
`

t.test('headway run shows what a training tells Kubeflow Trainer, and its end is that of the command', async t => {
  const service = await startService(t, { LIVE_INTERVAL_MS: '50', HEARTBEAT_INTERVAL_MS: '200' })
  const go = join(t.testdir(), 'go')
  const script = `${TRAINING}
assert send({"progressPercentage": 0, "metrics": metrics(total_steps=200)}) == 200
assert send({"progressPercentage": 1}, token="guessed") == 401
assert send({"progressPercentage": 45, "estimatedRemainingSeconds": 120, "metrics": metrics(loss=0.15, epoch=1.5, note="nan")}) == 200
print("step 3/4", flush=True)
while not os.path.exists(${JSON.stringify(go)}): time.sleep(0.05)
assert send({"progressPercentage": 100, "estimatedRemainingSeconds": 0}) == 200
print(os.environ["KUBEFLOW_TRAINER_SERVER_TOKEN"])
`
  const { ended } = spawnHeadway(t, ['run', '--parse', '--name', 'a training', '--', 'python3', '-c', script], {
    HEADWAY_URL: service.url,
    http_proxy: 'http://127.0.0.1:9',
  })
  const find = async (): Promise<JobWithWorkers | null> => {
    const { body } = await service.call<Page<ListedJob>>('GET', '/jobs?includeCompleted=true&search=training')
    const [job] = body.items
    return job ? (await service.call<JobWithWorkers>('GET', `/jobs/${job.id}`)).body : null
  }
  const shown = await waitFor(
    async () => {
      const job = await find()
      return job?.workers[0]?.payload?.['loss'] === 0.15 ? job : null
    },
    { timeoutMs: 20_000 },
  )
  t.match(shown, { status: 'running', progressPercent: 45 }, 'the output says 75 %, and does not count')
  t.match(shown, { etaSource: 'worker' }, `the time left is that of the training: ${shown?.etaSeconds}`)
  t.same(shown?.workers[0]?.payload, { loss: 0.15, epoch: 1.5, note: 'nan' })
  spawnSync('touch', [go])
  const { code, stdout, stderr } = await ended
  t.equal(code, 0, stderr)
  t.match(await find(), { status: 'completed', progressPercent: 100 })
  t.notOk(existsSync(stdout.trim().split('\n').at(-1) ?? ''), 'the file with the token is gone')
})

t.test('headway run leaves the variables of Kubeflow Trainer alone where one of them is set', async t => {
  const { ended } = spawnHeadway(t, ['run', '--', 'sh', '-c', 'echo "[$KUBEFLOW_TRAINER_SERVER_URL]"'], {
    HEADWAY_URL: 'http://127.0.0.1:9',
    KUBEFLOW_TRAINER_SERVER_TOKEN: '/elsewhere',
  })
  t.equal((await ended).stdout.trim(), '[]')
})

t.test('a status of a training is a heartbeat, whatever else a sender adds', async t => {
  const service = await startService(t)
  const { body: job } = await service.call<JobWithWorkers>('POST', '/jobs', { jobType: 'training', name: 'a training' })
  const send = (body: unknown) => service.call<Record<string, unknown>>('POST', `/jobs/${job.id}/trainer-status`, body)
  const read = async () => (await service.call<JobWithWorkers>('GET', `/jobs/${job.id}`)).body
  t.equal((await send({})).status, 200, 'nothing but a sign of life')
  t.match(await read(), { status: 'running', progressPercent: 0 })

  const many = Array.from({ length: 600 }, (_, n) => ({ name: `metric ${n}`, value: '0.5' }))
  const cases: [status: object, expected: object][] = [
    [{ progressPercentage: -3 }, { progressPercent: 0 }],
    [{ progressPercentage: 45.9, estimatedRemainingSeconds: 12.7 }, { progressPercent: 45 }],
    [{ progressPercentage: null, metrics: null, estimatedRemainingSeconds: null }, { progressPercent: 45 }],
    [{ progressPercentage: 0 }, { progressPercent: 45 }],
    [{ progressPercentage: 100 }, { status: 'running', progressPercent: 99 }],
    [
      { progressPercentage: 250, later: { added: [1] } },
      { status: 'running', progressPercent: 99 },
    ],
  ]
  for (const [trainerStatus, expected] of cases) {
    const { status } = await send({ apiVersion: 'v1', trainerStatus })
    t.equal(status, 200, JSON.stringify(trainerStatus))
    t.match(await read(), expected, JSON.stringify(trainerStatus))
  }
  const metrics = [
    { name: 'loss', value: '1e400' },
    { name: 'rate', value: '5e-05', unit: '1' },
    { name: 'tiny', value: '1e-300' },
    { name: 'steps', value: 7 },
    { name: 'a\0b\ud800', value: '\0' },
    { name: '__proto__', value: '1' },
    { name: '', value: '1' },
    { name: 'rate', value: '-.5' },
  ]
  t.equal((await send({ trainerStatus: { metrics } })).status, 200)
  t.same((await read()).workers[0]?.payload, {
    loss: '1e400',
    rate: -0.5,
    tiny: '1e-300',
    steps: 7,
    'a\ufffdb\ufffd': '\ufffd',
  })
  t.equal((await send({ trainerStatus: { metrics: many } })).status, 200)
  const { payload } = (await read()).workers[0]!
  const bytes = Buffer.byteLength(JSON.stringify(payload))
  t.ok(bytes > 4_000 && bytes <= 4_096, `${bytes} bytes of the payload are used`)
  for (const [trainerStatus, field] of [
    [{ progressPercentage: '45' }, 'trainerStatus.progressPercentage'],
    [{ metrics: { loss: 1 } }, 'trainerStatus.metrics'],
    [{ metrics: [{ name: 'loss', value: [1] }] }, 'trainerStatus.metrics[0].value'],
    [{ lastUpdatedTime: 'now' }, 'trainerStatus.lastUpdatedTime'],
  ] as const) {
    const { status, body } = await send({ trainerStatus })
    t.match({ status, body }, { status: 400, body: { errors: [{ path: field }] } }, JSON.stringify(trainerStatus))
  }
  const at = (seconds: number) => new Date(Date.now() + 1000 * seconds).toISOString().replace('Z', '123+00:00')
  await send({ trainerStatus: { metrics: [{ name: 'loss', value: '2' }], lastUpdatedTime: at(60) } })
  await send({ trainerStatus: { metrics: [{ name: 'loss', value: '3' }], lastUpdatedTime: at(30) } })
  t.match(await read(), { workers: [{ payload: { loss: 2 } }] }, 'a late status changes nothing')
})

t.test('a line of a program is a fraction, a percent, or the fields of a heartbeat in JSON', async t => {
  const cases: [line: string, report: object | null][] = [
    ['42/100', { processedCount: 42, totalCount: 100 }],
    ['  7 / 9\r', { processedCount: 7, totalCount: 9 }],
    ['42 %', { progressPercent: 42 }],
    ['99.9%', { progressPercent: 99 }],
    ['100 %', { progressPercent: 100 }],
    [
      '{"processedCount":42,"message":"Row 42","payload":{"file":"a"},"jobId":"x"}',
      { processedCount: 42, message: 'Row 42', payload: { file: 'a' } },
    ],
    ['{"increment":3}', { increment: 3 }],
    ['{}', {}],
    ['101 %', null],
    ['-1/5', null],
    ['1.5/3', null],
    ['99999999999999999999/1', null],
    ['{"processedCount":', null],
    ['[1]', null],
    ['42', null],
    ['done 42/100', null],
    ['', null],
  ]
  for (const [line, report] of cases) t.same(reportOfLine(line), report, line)
})

t.test('what a command tells of itself is its progress', { buffered: true }, async t => {
  t.jobs = 3
  const service = await startService(t, { LIVE_INTERVAL_MS: '50', HEARTBEAT_INTERVAL_MS: '200' })
  const run = async (t: Test, name: string, script: string, environment: Record<string, string> = {}) => {
    const args = ['run', '--parse', '--name', name, '--', 'bash', '-c', script]
    const { code, stdout, stderr } = await spawnHeadway(t, args, { HEADWAY_URL: service.url, ...environment }).ended
    const { body } = await service.call<Page<ListedJob>>('GET', `/jobs?includeCompleted=true&search=${name}`)
    return { code, stdout, stderr, job: body.items[0]! }
  }

  t.test('the last whole line of its file counts, and not what it prints', async t => {
    const script = `f=$HEADWAY_PROGRESS_FILE; [ "$f" = "$ARGO_PROGRESS_FILE" ] && echo 1/4 >"$f"; echo 9/9; echo 2/4 >>"$f"; printf '%s\n%s' 3/4 '{"processedC' >>"$f"; exit 3`
    t.match(await run(t, 'file', script), { code: 3, job: { status: 'failed', processedCount: 3, totalCount: 4 } })
  })
  t.test('its lines on descriptor 3 are heartbeats', async t => {
    const script = `echo '{"totalCount":10,"unit":"rows"}' >&"$HEADWAY_PROGRESS_FD"; echo '{"increment":4}' >&3; echo nonsense >&3; echo '{"increment":2,"message":"two more"}' >&3; exit 1`
    const { job, stderr } = await run(t, 'descriptor', script)
    t.match(job, { processedCount: 6, totalCount: 10, unit: 'rows', message: 'two more' })
    t.match(stderr, /^headway: File descriptor 3 takes lines [^]* and not nonsense\.$/m)
  })
  t.test('a line on descriptor 3 may have any text of JSON, and be as long as a heartbeat', async t => {
    const payload = { text: 'x'.repeat(4_000) }
    const message = 'one\u2028two\u0085three'
    const line = JSON.stringify({ processedCount: 7, message, payload, unit: 'rows' })
    const { job, stderr } = await run(t, 'long-line', `echo '${line}' >&3; exit 1`)
    t.match(job, { processedCount: 7, unit: 'rows' })
    t.notMatch(stderr, /File descriptor 3/)
  })
  t.test('what is no regular file is not read, and holds nothing up', async t => {
    for (const [index, make] of ['mkfifo "$f"', 'ln -s /dev/zero "$f"', 'mkdir "$f"'].entries()) {
      const script = `f=$HEADWAY_PROGRESS_FILE; ${make}; sleep 0.7; echo 4/9 >&3; exit 1`
      t.match(
        await run(t, `irregular${index}`, script),
        { code: 1, job: { status: 'failed', processedCount: 4 } },
        make,
      )
    }
  })
  t.test('of runs in each other, the innermost hears what the command tells', async t => {
    const inner = `echo 3/8 >"$HEADWAY_PROGRESS_FILE"; echo "$ARGO_PROGRESS_FILE $KUBEFLOW_TRAINER_SERVER_URL"; exit 1`
    const script = `echo "$ARGO_PROGRESS_FILE $KUBEFLOW_TRAINER_SERVER_URL"; '${process.execPath}' '${MAIN}' run --name nested-inner -- bash -c '${inner}'`
    const { job, stdout } = await run(t, 'nested-outer', script)
    const { body } = await service.call<Page<ListedJob>>('GET', '/jobs?includeCompleted=true&search=nested-inner')
    t.match(body.items[0], { processedCount: 3, totalCount: 8 })
    t.match(job, { processedCount: 0, totalCount: null })
    const [outerLine, innerLine] = stdout.trim().split('\n')
    for (const [n, outer] of outerLine!.split(' ').entries()) t.not(innerLine!.split(' ')[n], outer)
  })
  t.test('a file that belongs to Argo Workflows is left alone', async t => {
    const file = join(t.testdir(), 'progress')
    const script = `echo 1/2 >"$ARGO_PROGRESS_FILE"; [ "$HEADWAY_PROGRESS_FILE" != "$ARGO_PROGRESS_FILE" ]`
    const { code, job } = await run(t, 'argo', script, { ARGO_PROGRESS_FILE: file })
    t.equal(code, 0)
    t.match(job, { processedCount: 0, totalCount: null })
    t.ok(existsSync(file))
  })
  t.test('a total that shrinks, and a count that falls, are taken as they are', async t => {
    const script = `echo 50/100 >&3; sleep 1.2; echo 40/60 >&3; exit 1`
    t.match((await run(t, 'shrinks', script)).job, { processedCount: 40, totalCount: 60 })
  })
  t.test('a full disk costs the progress of the file, and not the command', async t => {
    const { code, job } = await run(t, 'full', `echo 1/2 >/dev/full; exit 0`, { TMPDIR: '/no/such/folder' })
    t.equal(code, 0)
    t.equal(job.status, 'completed')
  })
  t.test('a command whose output nobody reads any more ends as it would without headway', async t => {
    for (const parse of [[], ['--parse']]) {
      const name = `unread${parse.length}`
      const piped = [process.execPath, MAIN, 'run', ...parse, '--name', name, '--', 'yes']
      const shell = spawn('sh', ['-c', '"$@" | head -n 1', 'sh', ...piped], {
        env: { PATH: process.env['PATH'], HEADWAY_URL: service.url },
        stdio: ['ignore', 'pipe', 'ignore'],
      })
      t.equal((await text(shell.stdout)).trim(), 'y')
      const { body } = await service.call<Page<ListedJob>>('GET', `/jobs?includeCompleted=true&search=${name}`)
      t.match(body.items, [{ status: 'failed', errorMessage: /^yes (?:was ended by SIGPIPE|ended with code 1)/ }], name)
    }
  })
})

t.test('what a command already keeps from its proxy stays kept from it', async t => {
  const of = (environment: Record<string, string>) => withoutProxy(environment)
  t.same(of({ NO_PROXY: 'a.example' }), {}, 'there is no proxy')
  const http_proxy = 'http://127.0.0.1:9'
  t.same(of({ http_proxy }), { no_proxy: '127.0.0.1' })
  t.same(of({ http_proxy, NO_PROXY: 'a.example' }), { NO_PROXY: 'a.example,127.0.0.1' })
  t.same(of({ http_proxy, NO_PROXY: '', no_proxy: 'b' }), { NO_PROXY: '127.0.0.1', no_proxy: 'b,127.0.0.1' })
  // Python and curl take `*` for every address only where it stands alone.
  t.same(of({ http_proxy, no_proxy: '*' }), {})
  t.same(of({ http_proxy, no_proxy: 'a.example,127.0.0.1' }), {})
})
