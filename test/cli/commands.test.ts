import { randomUUID } from 'node:crypto'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { runProgram } from '../../src/cli/program.ts'
import { ring } from '../../src/terminal/ring.ts'
import type { JobDocument, ListedJob, Page } from '../../src/contract/job.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { goodAnswer, startFakeService } from '../helpers/fake-service.ts'
import { spawnHeadway } from '../helpers/headway.ts'
import { startService, type Service } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'

const NOBODY = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'

const [ESCAPE, BELL] = ['\x1b', '\x07']

/** What makes a terminal say this text, as patterns of what stands in both sequences. */
const rings = (text: string, before = '', again = text): RegExp =>
  new RegExp(
    `^${before}${ESCAPE}\\]9;Headway: ${text}${BELL}${ESCAPE}\\]777;notify;Headway;${again}${BELL}${BELL}$`,
    'u',
  )

/** Runs `headway` in this process. */
const headway = async (args: string[], environment: Record<string, string>, { errIsTerminal = false } = {}) => {
  let stdout = ''
  let stderr = ''
  const code = await runProgram(args, {
    environment,
    out: text => (stdout += text),
    err: text => (stderr += text),
    errIsTerminal,
    serve: () => Promise.reject(new Error('the service was started')),
  })
  return { code, stdout, stderr }
}

/** On a machine that is busy with other tests a service that is there may seem to be away. */
const PATIENTLY = ['--patience', '30s']

const jobNamed = async (service: Service, name: string): Promise<JobDocument> => {
  const { body } = await service.call<Page<ListedJob>>(
    'GET',
    `/jobs?includeCompleted=true&search=${encodeURIComponent(name)}`,
  )
  if (body.items.length !== 1) throw new Error(`there are ${body.items.length} jobs named ${name}`)
  return (await service.call<JobDocument>('GET', `/jobs/${body.items[0]!.id}`)).body
}

// They wait more than they work.
t.jobs = 2

t.test('with a service', { buffered: true }, async t => {
  t.jobs = 3
  const service = await startService(t, {
    AUTH_JWT_SECRET: SECRET,
    LIVE_INTERVAL_MS: '50',
    HEARTBEAT_INTERVAL_MS: '200',
  })
  const token = await mint()
  const caller = service.as(token)
  const environment = { HEADWAY_URL: service.url, HEADWAY_TOKEN: token }
  const run = (t: Test, args: string[]) => spawnHeadway(t, ['run', ...PATIENTLY, ...args], environment)

  t.test('headway run makes a job that ends as its command does', { buffered: true }, async t => {
    const cases: [name: string, args: string[], ended: object, job: object][] = [
      [
        'good',
        [
          '--type',
          'script',
          '--unit',
          'fi\u200bles\n',
          '--parse',
          '--',
          'bash',
          '-c',
          'echo 1/4; echo 3 of 4; echo warned >&2',
        ],
        { code: 0, stdout: '1/4\n3 of 4\n', stderr: 'warned\n' },
        { jobType: 'script', status: 'completed', processedCount: 3, totalCount: 4, unit: 'files', errorMessage: null },
      ],
      [
        'bad',
        ['--total', '9', '--', 'bash', '-c', `echo 5/9; printf 'disk\\n\\033[31mfull\\n' >&2; exit 7`],
        { code: 7, stdout: '5/9\n', stderr: 'disk\n\x1b[31mfull\n' },
        {
          jobType: 'bash',
          status: 'failed',
          totalCount: 9,
          processedCount: 0,
          errorMessage: 'bash ended with code 7: full',
          errorStack: 'disk\nfull',
        },
      ],
      [
        'missing',
        ['--', 'no-such-command'],
        { code: 127 },
        { status: 'failed', errorMessage: /there is no such command/ },
      ],
      [
        'killed',
        ['--', 'bash', '-c', 'kill -9 $$'],
        { code: 137 },
        { status: 'failed', errorMessage: 'bash was ended by SIGKILL' },
      ],
      [
        'told',
        ['--', 'bash', '-c', 'echo "$HEADWAY_JOB_ID" -- --name'],
        { code: 0, stdout: /^[\da-f-]{36} -- --name\n$/ },
        { name: 'told' },
      ],
    ]
    await Promise.all(
      cases.map(async ([name, args, ended, job]) => {
        t.match(await run(t, ['--name', name, ...args]).ended, ended, name)
        t.match(await jobNamed(caller, name), job, name)
      }),
    )
  })

  t.test(
    'a cancelled command and the processes that it has started are asked to end, and then killed',
    { buffered: true },
    async t => {
      const directory = t.testdir()
      const stubborn = `trap 'echo asked' TERM; touch '${directory}/ready'; while :; do sleep 0.1; done`
      const { ended } = run(t, ['--name', 'stubborn', '--grace', '1s', '--', 'bash', '-c', stubborn])
      const child = `trap '' TERM; echo $BASHPID; while :; do sleep 0.1; done`
      const parent = run(t, [
        '--name',
        'parent',
        '--grace',
        '1s',
        '--',
        'bash',
        '-c',
        `bash -c '${child.replaceAll("'", "'\\''")}' & wait`,
      ])
      const [pid] = (await once(parent.child.stdout, 'data')) as [Buffer]
      const polite = run(t, ['--name', 'polite', '--', 'bash', '-c', `sleep 1000 & echo ready; wait`])
      await once(polite.child.stdout, 'data')
      for (const name of ['stubborn', 'parent', 'polite']) {
        const { id } = (await waitFor(async () => {
          const job = await jobNamed(caller, name)
          return job.status === 'running' ? job : null
        }))!
        await waitFor(() => caller.call('POST', `/jobs/${id}/cancel`))
      }
      t.match(await ended, {
        code: 137,
        stdout: 'asked\n',
        stderr: /^headway: The job was cancelled\. Stopping bash, at most 1 s\.\n/,
      })
      t.match(await polite.ended, { code: 143 })
      await parent.ended
      // The process is gone, or a zombie until its new parent reaps it.
      const state = () => spawnSync('ps', ['-o', 'stat=', '-p', String(pid).trim()]).stdout.toString()
      await waitFor(() => /^(Z|$)/.test(state()))
      for (const name of ['stubborn', 'parent', 'polite'])
        t.match(await jobNamed(caller, name), { status: 'cancelled' })
    },
  )

  t.test(
    'processes that the command leaves behind do not keep headway run from ending',
    { buffered: true },
    async t => {
      const { ended, child } = run(t, ['--name', 'daemon', '--', 'bash', '-c', 'sleep 60 >/dev/null & echo $!'])
      const [pid] = (await once(child.stdout, 'data')) as [Buffer]
      t.match(await ended, { code: 0 })
      process.kill(Number.parseInt(String(pid)), 'SIGKILL')
    },
  )

  t.test('headway run passes a signal on to its command, and ends as the command does', { buffered: true }, async t => {
    const { child, ended } = run(t, [
      '--name',
      'signalled',
      '--',
      'bash',
      '-c',
      `trap 'echo got it; exit 3' INT; echo ready; while :; do sleep 0.05; done`,
    ])
    await once(child.stdout, 'data')
    child.kill('SIGINT')
    t.match(await ended, { code: 3, stdout: /^(ready\n)?got it\n$/ })
    t.match(await jobNamed(caller, 'signalled'), { status: 'failed', errorMessage: 'bash ended with code 3' })
  })

  t.test(
    'jobs are listed, waited for and cancelled, and the exit code says how they ended',
    { buffered: true },
    async t => {
      const make = (name: string, fields = {}) => caller.createJob({ name, ...fields })
      const [done, broken, open] = [
        await make('done'),
        await make('broken', { totalCount: 4 }),
        await make('open', { cancellable: true }),
      ]
      // As it could be named once.
      const naming = `UPDATE public.progress_jobs SET name = E'bro\\x1bken' WHERE id = $1`
      await service.database.pool.query(naming, [broken.id])
      await caller.call('POST', `/jobs/${done.id}/complete`, { resultSummary: { rows: 3 } })
      await caller.call('POST', `/jobs/${broken.id}/fail`, { errorMessage: 'no\x1b disk' })
      const call = (...args: string[]) => headway(args, environment)

      const listed = await call('list', '--all', '--search', 'bro')
      t.match(listed, { code: 0, stderr: '' })
      t.match(
        listed.stdout,
        new RegExp(`^ID +STATUS +DONE +NAME\n${broken.id}  failed +0 % +bro ken +no disk, 0 of 4\n$`),
      )
      t.match((await call('list', '--status', 'failed', '--search', 'bro')).stdout, / bro ken +no disk, 0 of 4\n$/)
      const shown = await call('show', broken.id)
      t.match(shown, {
        code: 0,
        stdout: /^bro ken\nId +[^]*\nStatus +failed after \d+ s: no disk\n[^]*Error\n {2}no +disk\n/,
      })
      t.match(
        shown.stdout,
        /\nCreated +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d, .*\n[^]*History\n.* created\n.* failed/,
      )
      t.match(JSON.parse((await call('show', '--json', broken.id)).stdout), {
        id: broken.id,
        workers: [],
        events: [{ type: 'created' }],
      })
      t.match(await call('show', NOBODY), { code: 2, stderr: /./ })
      const json = await call('list', '--status', 'completed', '--status', 'failed', '--json', '--limit', '100')
      t.ok(
        json.stdout
          .trim()
          .split('\n')
          .map(line => JSON.parse(line) as ListedJob)
          .some(({ id }) => id === done.id),
      )
      t.match(await call('list', '--type', 'none such'), { code: 0, stdout: '', stderr: 'No jobs.\n' })
      t.match(await call('list', '--all', '--started-by', 'nobody'), { code: 0, stdout: '', stderr: 'No jobs.\n' })
      const late = await make('late', { finishBy: '2026-01-31T12:00:00Z' })
      await service.database.pool.query(
        `UPDATE public.progress_jobs SET deadline = 'overdue', unusual = true, expected_seconds = 60, long_seconds = 90 WHERE id = $1`,
        [late.id],
      )
      for (const filter of [['--deadline', 'at_risk', '--deadline', 'overdue'], ['--unusual']])
        t.match(
          (await call('list', ...filter)).stdout,
          /^ID .*\n\S+ +pending .* late +overdue, longer than usual .*\n$/,
        )
      t.match(await call('list', '--deadline', 'at_risk'), { code: 0, stdout: '', stderr: 'No jobs.\n' })
      t.match(await call('list', '--deadline', 'soon'), { code: 2, stderr: /Choose among on_time, at_risk, overdue\./ })
      t.match(await call('list', '--all', '--limit', '1'), { stderr: /^1 of \d+ jobs/ })
      await service.database.pool.query(
        `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds)
         SELECT tenant_id, 'crowd', 'job ' || n, 60 FROM public.progress_jobs, generate_series(1, 230) n WHERE id = $1`,
        [late.id],
      )
      const many = await call('list', '--type', 'crowd', '--limit', '201', '--json')
      const ids = many.stdout
        .trim()
        .split('\n')
        .map(line => (JSON.parse(line) as { id: string }).id)
      t.equal(new Set(ids).size, 201, 'more than a page has are read page by page')
      t.match(await call('list', '--type', 'crowd', '--limit', '201'), { stderr: /^201 of 230 jobs/ })

      t.match(await call('wait', done.id), { code: 0, stdout: /^done: completed after \d+ s\n$/ })
      t.match(await call('wait', '--json', done.id), { code: 0, stdout: /"resultSummary":\{"rows":3\}/ })
      t.match(await call('wait', broken.id), { code: 1, stdout: /^bro ken: failed after \d+ s: no disk\n$/ })
      t.match(await call('wait', '--timeout', '1s', open.id), { code: 5, stderr: /not finished/ })
      t.match(await call('wait', NOBODY), { code: 2, stderr: /./ })

      const rung = { ...environment, TERM: 'xterm-256color' }
      t.match(await headway(['wait', '--notify', broken.id], rung, { errIsTerminal: true }), {
        code: 1,
        stderr: rings('bro ken: failed after \\d+ s: no disk'),
      })
      t.match(await headway(['wait', '--notify', '--timeout', '1s', open.id], rung, { errIsTerminal: true }), {
        code: 5,
        stderr: rings('.* has not finished yet', 'The job has not finished yet\\.\n'),
      })
      t.equal((await headway(['wait', '--notify', done.id], rung)).stderr, '', 'only in a terminal')

      const waiting = call('wait', open.id)
      t.match(await call('cancel', open.id), { code: 0, stdout: 'open: cancelled\n' })
      t.match(await waiting, { code: 3, stdout: /^open: cancelled/ })
      const second = await make('second', { cancellable: true })
      t.match(await call('cancel', done.id, second.id), {
        code: 2,
        stdout: 'second: cancelled\n',
        stderr: new RegExp(`^${done.id}: `),
      })
      t.match(await headway(['list'], { HEADWAY_URL: service.url }), { code: 2, stderr: /needs a token/ })
    },
  )

  t.test('jobs are watched until all have finished: lines where there is no terminal', { buffered: true }, async t => {
    const [one, two] = [
      await caller.createJob({ name: 'one', totalCount: 2, unit: 'rows' }),
      await caller.createJob({ name: 'two' }),
    ]
    await caller.heartbeat(one.id, { processedCount: 1 })
    const watch = spawnHeadway(t, ['watch', one.id.toUpperCase(), two.id], environment)
    const first = once(watch.child.stdout, 'data')
    await first
    await caller.call('POST', `/jobs/${one.id}/complete`)
    await caller.call('POST', `/jobs/${two.id}/fail`, { errorMessage: 'broken' })
    const { code, stdout } = await watch.ended
    t.equal(code, 1)
    t.match(
      stdout,
      /^one \[#{8}\.{8}\] {2}50 % 1 of 2 rows.*\n[^]*^one: completed after \d+ s\ntwo: failed after \d+ s: broken\n$/m,
    )
    const batch = await caller.createJob({ name: 'all', partitions: [{ name: 'left' }, { name: 'right' }] })
    const { body } = await caller.call<Page<ListedJob>>('GET', `/jobs?parentJobId=${batch.id}`)
    const unfolded = spawnHeadway(t, ['watch', batch.id], environment)
    await once(unfolded.child.stdout, 'data')
    const failed = body.items.find(({ name }) => name === 'left')!
    await caller.call('POST', `/jobs/${failed.id}/fail`, { errorMessage: 'no disk' })
    // The partitions have a stream of their own.
    await once(unfolded.child.stdout, 'data')
    for (const { id } of body.items) await caller.call('POST', `/jobs/${id}/complete`)
    t.match(await unfolded.ended, {
      code: 1,
      stdout:
        /0 of 2 partitions[^]*^ {2}left: failed after \d+ s: no disk\n[^]*^all: failed .*: 1 of 2 partitions failed \(left: no disk\)\n$/m,
    })
    t.match(await spawnHeadway(t, ['watch', NOBODY], environment).ended, {
      code: 2,
      stderr: `There is no job ${NOBODY}.\n`,
    })
  })
})

t.test(
  'no name of a job ends the sequence that rings, adds one, or is taken for a command of the terminal',
  async t => {
    const evil = [
      'a\x1b]0;title\x07b',
      'a\x9cb\x9d',
      'x;y;z',
      '4;1;50',
      'a\nb\r\x1b[2J',
      '\u202eabc',
      '👩‍👩‍👧‍👦',
      'n'.repeat(5_000),
    ]
    for (const name of evil) {
      const bytes = ring(name, { TERM: 'xterm' })
      const [, first, second] = rings('([^\\p{Cc}]*)', '', '([^\\p{Cc};]*)').exec(bytes) ?? []
      t.ok(first !== undefined && first === second, JSON.stringify(bytes.slice(0, 80)))
      t.ok(bytes.length < 1_000)
    }
    t.equal(ring('done', { TERM: 'dumb' }), '\x07', 'a terminal without sequences rings')
    t.equal(ring('done', { TERM: 'foot' }).split('done').length, 2, 'one that knows both shows one')
    t.equal(ring('done', { TERM: 'xterm', TERM_PROGRAM: 'WezTerm' }).split('done').length, 2)
  },
)

t.test(
  'headway run runs its command while the service is away, and a command that needs the service says that it is away',
  { buffered: true },
  async t => {
    const away = { HEADWAY_URL: 'http://127.0.0.1:1' }
    const ran = spawnHeadway(t, ['run', '--', 'bash', '-c', 'echo worked; exit 4'], away)
    const listed = spawnHeadway(t, ['list'], away)
    const told = once(spawnHeadway(t, ['watch'], away).child.stderr, 'data')
    const waited = spawnHeadway(t, ['wait', '--timeout', '2s', NOBODY], away)
    // Which tries for ten seconds.
    let isListed = false
    void listed.ended.then(() => (isListed = true))
    const end = await ran.ended
    t.equal(isListed, false, 'a short command is not held up for longer than a short while')
    t.match(end, {
      code: 4,
      stdout: 'worked\n',
      stderr: /127\.0\.0\.1:1 [^]*The service does not know how the job ended\.\n$/,
    })
    t.equal(end.stderr.match(/how the job ended/g)?.length, 1, 'once')
    const silent = await startFakeService(t)
    silent.script = (received, response) =>
      received.call === 'POST /jobs' ? goodAnswer(received, response) : new Promise(() => undefined)
    const hurried = spawnHeadway(t, ['run', '--patience', '1s', '--', 'true'], { HEADWAY_URL: silent.url })
    const said = `headway: ${silent.url} has not answered. The service does not know how the job ended.\n`
    t.match(await hurried.ended, { code: 0, stderr: said }, 'also where that is the first thing to be said')
    t.match(await waited.ended, { code: 4, stderr: /cannot be reached. Trying again.\n/ })
    t.match(String(await told), /no connection to the service; trying again/)
    t.match(await listed.ended, { code: 4, stderr: /cannot be reached. Start the service there, or set HEADWAY_URL/ })
  },
)

t.test('a database can be migrated any number of times', async t => {
  const { url } = await createTestDatabase(t)
  for (let times = 0; times < 2; times++) {
    t.match(await headway(['migrate'], { DATABASE_URL: url }), { code: 0, stdout: 'The database is up to date.\n' })
  }
})

t.test(
  'a database that cannot be migrated is explained in a sentence, which names the server and the setting',
  async t => {
    const { url, pool } = await createTestDatabase(t)
    const word = 'a-password-of-nobody'
    const by = (change: (url: URL) => void) => {
      const changed = new URL(url)
      change(changed)
      return changed.href
    }
    const role = `without_rights_${randomUUID().replaceAll('-', '')}`
    await pool.query(`CREATE ROLE ${role} LOGIN PASSWORD '${word}'`)
    t.teardown(() => pool.query(`DROP ROLE ${role}`))
    const as = (user: string) =>
      by(changed => {
        changed.username = user
        changed.password = word
      })
    const missing = by(changed => (changed.pathname = '/no_such_database'))
    const cases: [url: string, code: number, sentence: RegExp][] = [
      [`postgres://u:${word}@127.0.0.1:1/headway`, 4, /nothing listens on 127\.0\.0\.1:1\. Start the database, or /],
      [`postgres://u:${word}@localhost:1/headway`, 4, /nothing listens on localhost:1\. Start the database, or /],
      [`postgres:///headway?user=u&host=/no/such/directory`, 4, /no socket in \/no\/such\/directory/],
      [`postgres://u:${word}@nowhere.invalid/headway`, 4, /the host of nowhere\.invalid:5432 (is not known|cannot be)/],
      [as('nobody_of_this_name'), 2, /does not let in the user nobody_of_this_name/],
      [missing, 2, /there is no database no_such_database on .*Create it, or /],
      [as(role), 2, new RegExp(`the user ${role} may not change the database`)],
      [`postgres://u:${word}%e0@127.0.0.1:1/headway`, 2, /cannot be read: write special characters/],
    ]
    for (const [databaseUrl, code, sentence] of cases) {
      for (const setting of ['DATABASE_URL', 'DATABASE_LISTEN_URL']) {
        const said = await headway(['migrate'], { DATABASE_URL: url, [setting]: databaseUrl })
        t.match(said, { code, stdout: '', stderr: sentence })
        t.match(said.stderr, setting)
        t.match(said.stderr, /^[^\n]+\.\n$/, 'one line')
        t.notOk(said.stderr.includes(word), 'no password')
      }
    }
  },
)

t.test('shells complete commands and options', async t => {
  const scripts = await Promise.all(['bash', 'zsh', 'fish'].map(shell => headway(['completion', shell], {})))
  for (const { code, stdout } of scripts)
    t.match({ code, stdout }, { code: 0, stdout: /grace[^]*watch|watch[^]*grace/ })
  const file = join(t.testdir(), 'try.sh')
  const complete = (...words: string[]) =>
    `COMP_WORDS=(${words.map(word => `'${word}'`).join(' ')}) COMP_CWORD=${words.length - 1} && _headway && echo "\${COMPREPLY[*]}"\n`
  writeFileSync(file, `${scripts[0]!.stdout}\n${complete('headway', 'wa')}${complete('headway', 'run', '--gr')}`)
  const bash = spawn('bash', ['--norc', file])
  t.equal(await text(bash.stdout), 'watch wait\n--grace\n')
})

t.test('the help of every command has examples', async t => {
  for (const command of ['run', 'watch', 'wait', 'list', 'show', 'cancel', 'migrate', 'completion']) {
    const { code, stdout } = await headway([command, '--help'], {})
    t.match({ code, stdout }, { code: 0, stdout: new RegExp(`Examples?:\n[^]*headway ${command}`) })
  }
})
