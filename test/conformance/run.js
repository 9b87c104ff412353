// Lets the workers that the manual tells of be tried by `headway conformance`: `npm run test:conformance`. Each of them must hold
// every rule.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const HEADWAY = join(ROOT, 'dist/cli/main.js')
const WORK_SECONDS = 6
/** A worker waits more than it works. */
const JOBS = 6

/** The script of the manual, with rows that take long enough. */
const recipe = () => {
  const [, script] = /```bash\n([^]*?)```/.exec(readFileSync(join(ROOT, 'docs/reporting/shell.md'), 'utf8')) ?? []
  return script.replace('sleep 0.01', `sleep ${WORK_SECONDS / 300}`)
}

const folder = mkdtempSync(join(tmpdir(), 'headway-conformance-'))
const script = join(folder, 'worker.sh')
writeFileSync(script, recipe())

const loop = `for n in $(seq ${WORK_SECONDS * 10}); do sleep 0.1; echo $n/${WORK_SECONDS * 10}; done`
const WORKERS = {
  'the client for Node': [process.execPath, join(ROOT, 'test/conformance/worker.js')],
  'the client for Python': ['python3', join(ROOT, 'test/conformance/worker.py')],
  'the shell script of the manual': ['bash', '-c', 'exec bash "$0" "$HEADWAY_JOB_ID"', script],
  'headway run': [process.execPath, HEADWAY, 'run', '--parse', '--', 'bash', '-c', loop],
}

/** The exit code of the suite for one worker, and what it said. */
const tryWorker = async command => {
  const suite = ['conformance', '--work', `${WORK_SECONDS}s`, '--jobs', String(JOBS), '--', ...command]
  const child = spawn(process.execPath, [HEADWAY, ...suite], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [[code], output] = await Promise.all([once(child, 'exit'), text(child.stdout)])
  return { code, output }
}

let failed = 0
try {
  // One after the other: the programs of all at once would be late by themselves.
  for (const [name, command] of Object.entries(WORKERS)) {
    const { code, output } = await tryWorker(command)
    console.log(`== ${name}\n${output}`)
    if (code !== 0) failed += 1
  }
} finally {
  rmSync(folder, { recursive: true })
}
console.log(failed === 0 ? 'Every worker holds every rule.' : `${failed} workers break rules.`)
process.exit(failed === 0 ? 0 : 1)
