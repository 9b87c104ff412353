import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { Family } from '../../src/cli/command/family.ts'
import { processTable, type ProcessEntry, type ProcessTable } from '../../src/cli/command/process-table.ts'
import type { ListedJob, Page } from '../../src/contract/job.ts'
import { spawnHeadway } from '../helpers/headway.ts'
import { startService, type Service } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** Several processes of Node start at once. */
const SLOW = { timeoutMs: 20_000 }

/** Runs `headway run` in a process of its own. */
const spawnRun = (t: Test, args: string[], environment: Record<string, string>) =>
  spawnHeadway(t, ['run', '--patience', '30s', ...args], environment)

const jobNamed = async (service: Service, name: string): Promise<ListedJob> => {
  const { body } = await service.call<Page<ListedJob>>('GET', `/jobs?includeCompleted=true&search=${name}`)
  if (body.items.length !== 1) throw new Error(`there are ${body.items.length} jobs named ${name}`)
  return body.items[0]!
}

const isRunning = async (service: Service, name: string): Promise<ListedJob | null> => {
  const job = await jobNamed(service, name)
  return job.status === 'running' ? job : null
}

t.jobs = 2

t.test('with a service', { buffered: true }, async t => {
  t.jobs = 4
  const service = await startService(t, { LIVE_INTERVAL_MS: '50', HEARTBEAT_INTERVAL_MS: '200' })
  const run = (t: Test, args: string[]) => spawnRun(t, args, { HEADWAY_URL: service.url })

  /** Each writes its process's id into the file `$PIDS`, and would go on for ten minutes. */
  const SLEEPER = `echo $$ >>"$PIDS"; exec sleep 600`
  const WAYS_OUT: Record<string, string> = {
    'timeout of coreutils': `timeout 600 bash -c '${SLEEPER}'`,
    'a session of its own': `setsid bash -c '${SLEEPER}' & wait`,
    'job control': `set -m; bash -c '${SLEEPER}' & wait`,
    'a daemon': `(setsid bash -c '${SLEEPER}' </dev/null >/dev/null 2>&1 &); sleep 600`,
    'an empty environment': `(env -i "PIDS=$PIDS" PATH="$PATH" setsid bash -c '${SLEEPER}' &); sleep 600`,
    'deaf to all but SIGKILL': `trap '' TERM INT HUP; setsid bash -c '${SLEEPER}' & while :; do wait; done`,
    'headway run in headway run': `'${process.execPath}' '${MAIN}' run --name inner -- bash -c "setsid bash -c '${SLEEPER.replaceAll('$', '\\$').replaceAll('"', '\\"')}' & wait"`,
  }
  const STOPS: Record<string, (run: { kill(signal: NodeJS.Signals): boolean }, job: ListedJob) => unknown> = {
    cancel: (_, { id }) => service.call('POST', `/jobs/${id}/cancel`),
    SIGTERM: run => run.kill('SIGTERM'),
    SIGINT: run => run.kill('SIGINT'),
    SIGHUP: run => run.kill('SIGHUP'),
  }
  const isAlive = (pid: number): boolean => processTable.find(pid) !== null

  t.test('a command that cannot be started fails its job, whatever the system says, and nothing is left', async t => {
    const folder = t.testdir({ busy: '' })
    for (const [command, code] of [
      ['/etc/passwd/x', 126],
      ['x'.repeat(300), 126],
      ['no-such-command', 127],
    ] as const) {
      const name = `unstarted-${command.slice(-8)}`
      const environment = { HEADWAY_URL: service.url, TMPDIR: folder }
      const ended = await spawnRun(t, ['--name', name, '--', command], environment).ended
      t.equal(ended.code, code, ended.stderr)
      t.match(ended.stderr, /could not be started/)
      const { body } = await service.call<Page<ListedJob>>('GET', '/jobs?includeCompleted=true')
      t.match(
        body.items.filter(job => job.name === name),
        [{ status: 'failed', errorMessage: /could not be started/ }],
      )
    }
    t.same(readdirSync(folder), ['busy'])
  })

  t.test('the job of a command has the deadline that --finish-within says, from its start', async t => {
    await run(t, ['--name', 'in time', '--finish-within', '2h', '--', 'true']).ended
    const { startedAt, finishBy, deadline } = await jobNamed(service, 'in time')
    t.equal(Date.parse(finishBy ?? '') - Date.parse(startedAt ?? ''), 7_200_000)
    t.equal(deadline, 'on_time')
  })

  t.test('--parse alone reads a known program by its preset, and other output of it by --parse=usual', async t => {
    const directory = t.testdir({
      terraform:
        '#!/bin/sh\nprintf "Plan: 4 to add, 1 to change, 0 to destroy.\\nload 90%%\\nx: Creation complete after 1s\\n"\n',
    })
    chmodSync(join(directory, 'terraform'), 0o755)
    const command = ['--', 'env', 'A=1', join(directory, 'terraform')]
    await Promise.all([
      run(t, ['--name', 'by preset', '--parse', ...command]).ended,
      run(t, ['--name', 'by the usual forms', '--parse=usual', ...command]).ended,
    ])
    t.match(await jobNamed(service, 'by preset'), { totalCount: 5, unit: 'changes' })
    t.match(await jobNamed(service, 'by the usual forms'), { totalCount: 100, unit: 'unknown' })
    t.match(await run(t, ['--parse=ffmpg', ...command]).ended, {
      code: 2,
      stderr: /It is none of apt, .*, terraform, /,
    })
  })

  t.test('no process that a command has started is left when the command was stopped', { buffered: true }, async t => {
    const directory = t.testdir()
    const names = Object.keys(WAYS_OUT)
    // Each way out once by a cancel, and by the signals in turn.
    const cases = names.flatMap((way, index) => [
      { way, how: 'cancel' },
      { way, how: ['SIGTERM', 'SIGINT', 'SIGHUP'][index % 3]! },
    ])
    const tryOut = async ({ way, how }: { way: string; how: string }, index: number): Promise<void> => {
      const name = `out-${index}-of`
      const pids = join(directory, String(index))
      const command = ['--name', name, '--grace', '1s', '--', 'bash', '-c', WAYS_OUT[way]!]
      const { child, ended } = spawnRun(t, command, { HEADWAY_URL: service.url, PIDS: pids })
      await waitFor(() => existsSync(pids) && readFileSync(pids, 'utf8').endsWith('\n'), SLOW)
      const job = await waitFor(() => isRunning(service, name), SLOW)
      await STOPS[how]!(child, job!)
      await ended
      const started = readFileSync(pids, 'utf8').trim().split('\n').map(Number)
      t.same(started.filter(isAlive), [], `${way}, ${how}`)
      for (const pid of started.filter(isAlive)) process.kill(pid, 'SIGKILL')
      t.equal((await jobNamed(service, name)).status, how === 'cancel' ? 'cancelled' : 'failed', `${way}, ${how}`)
    }
    // Not all at once: each is three processes of Node at least.
    for (let at = 0; at < cases.length; at += 5)
      await Promise.all(cases.slice(at, at + 5).map((each, index) => tryOut(each, at + index)))
  })

  t.test(
    'processes that a command starts for its cleanup may run until the end of the grace period',
    { buffered: true },
    async t => {
      const script = `trap 'bash -c "sleep 0.4; echo cleaned"; exit 9' TERM; echo ready; sleep 600 & wait`
      const { child, ended } = run(t, ['--name', 'cleaning', '--', 'bash', '-c', script])
      await once(child.stdout, 'data')
      child.kill('SIGTERM')
      t.match(await ended, { code: 9, stdout: /^(ready\n)?cleaned\n$/ })
    },
  )

  t.test('a command that was asked to stop and ends with 0 was cancelled', { buffered: true }, async t => {
    const script = `trap 'exit 0' TERM INT; echo ready; sleep 600 & wait`
    const stop = async (name: string, how: string, code: number): Promise<void> => {
      const { child, ended } = run(t, ['--name', name, '--', 'bash', '-c', script])
      await once(child.stdout, 'data')
      await STOPS[how]!(child, (await waitFor(() => isRunning(service, name), SLOW))!)
      t.match(await ended, { code }, `${how}: what it ends with`)
      t.match(await jobNamed(service, name), { status: 'cancelled' }, how)
    }
    await Promise.all([
      stop('zero by cancel', 'cancel', 143),
      stop('zero by signal', 'SIGTERM', 0),
      stop('zero by keyboard', 'SIGINT', 0),
    ])
  })
})

t.test('a command that has ended by itself cannot be asked to stop', async t => {
  const child = spawn('true', { stdio: 'ignore' })
  const family = new Family({ pid: child.pid!, mark: 'none', hasGroup: false })
  // This process, busy, has not taken note of the end.
  execFileSync('sleep', ['0.3'])
  t.equal(family.hasRoot, false)
  await once(child, 'exit')
})

t.test('a process is ended only if its id still belongs to the process that was seen', async t => {
  const entry = (pid: number, more: Partial<ProcessEntry> = {}): ProcessEntry => {
    return { pid, parent: 1, group: 1, session: 1, startedAt: '100', name: 'x', isStopped: false, ...more }
  }
  /** 900,000 and more: ids that no process of this machine has. */
  const root = entry(900_000)
  const tableOf = (entries: () => ProcessEntry[]): ProcessTable => ({
    list: entries,
    find: pid => [entry(process.pid), ...entries()].find(each => each.pid === pid) ?? null,
    inherits: () => false,
    files: () => [],
  })
  const ids = (members: ProcessEntry[]) => members.map(({ pid }) => pid).sort()
  let now = [root, entry(900_001, { parent: 900_000 }), entry(900_002, { parent: 900_001, group: 900_002 })]
  const family = new Family({ pid: 900_000, mark: 'none', hasGroup: false, table: tableOf(() => now) })
  t.same(ids(family.look()), [900_000, 900_001, 900_002])
  now = [entry(900_001), entry(900_002, { group: 900_002 }), entry(900_003, { group: 900_002 })]
  t.same(ids(family.look()), [900_001, 900_002, 900_003], 'what was handed to init, and the group of one of them')
  now = [
    entry(900_001, { startedAt: '200' }),
    entry(900_002, { startedAt: '200', group: 900_002, session: 900_002 }),
    entry(900_004, { group: 900_002, session: 900_002 }),
    entry(900_005, { startedAt: '50', parent: 900_001 }),
  ]
  t.same(ids(family.look()), [], 'the same ids, and others')
})
