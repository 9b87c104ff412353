import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import t from 'tap'
import { runProgram } from '../../src/cli/program.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { ServiceProcess } from '../helpers/process.ts'
import { startService } from '../helpers/service.ts'
import { SECRET } from '../helpers/tokens.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const TENANT = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a01'
const OTHER = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a02'

/** Runs `headway` in this process, with nothing of its environment. */
const headway = async (args: string[], environment: Record<string, string> = { AUTH_JWT_SECRET: SECRET }) => {
  let stdout = ''
  let stderr = ''
  const status = await runProgram(args, {
    environment,
    out: text => (stdout += text),
    err: text => (stderr += text),
    serve: () => Promise.reject(new Error('the service was started')),
  })
  return { status, stdout, stderr }
}

t.test('a token has the claims that were asked for, and the command writes nothing but the token', async t => {
  const cases: [args: string[], claims: object, seconds: number | null][] = [
    [[], { tenant_id: TENANT, features: ['progress.view'] }, 3_600],
    [['--features', 'view,update', '--expires', '90s'], { features: ['progress.view', 'progress.update'] }, 90],
    [
      ['--features', 'progress.cancel, create', '--expires', '15m'],
      { features: ['progress.cancel', 'progress.create'] },
      900,
    ],
    [['--features', '*', '--expires', '30d'], { features: ['progress.*'] }, 2_592_000],
    [
      ['--organization', OTHER, '--user', 'Zoë', '--job', OTHER.toUpperCase(), '--expires', '2w'],
      { organization_id: OTHER, sub: 'Zoë', job_id: OTHER },
      1_209_600,
    ],
    [['--expires', 'never'], {}, null],
  ]
  for (const [args, claims, seconds] of cases) {
    const { status, stdout, stderr } = await headway(['token', '--tenant', TENANT, ...args])
    t.match({ status, stderr }, { status: 0, stderr: '' }, args.join(' '))
    t.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/, 'only the token')
    const found = decodeJwt(stdout.trim())
    t.match(found, claims, args.join(' '))
    t.equal(found.exp === undefined ? null : found.exp - found.iat!, seconds)
    t.notOk('iss' in found || 'aud' in found)
    t.same(decodeProtectedHeader(stdout.trim()), { alg: 'HS256', typ: 'JWT' })
  }
  const settings = { AUTH_JWT_SECRET: SECRET, AUTH_ISSUER: 'ops', AUTH_AUDIENCE: 'headway', PORT: 'not a port' }
  t.match(decodeJwt((await headway(['token', '--tenant', TENANT], settings)).stdout.trim()), {
    iss: 'ops',
    aud: 'headway',
  })
})

t.test('a token of the command is accepted by services with the same settings, and by no other', async t => {
  const settings = { AUTH_JWT_SECRET: SECRET, AUTH_ISSUER: 'ops', AUTH_AUDIENCE: 'headway' }
  const service = await startService(t, settings)
  const mint = async (environment: Record<string, string>) =>
    (
      await headway(['token', '--tenant', TENANT, '--features', 'create,view', '--user', 'me'], environment)
    ).stdout.trim()
  const job = await service.as(await mint(settings)).createJob()
  t.match(job, { tenantId: TENANT, startedByUserId: 'me' })
  const others = [
    { ...settings, AUTH_JWT_SECRET: SECRET.replace('tests', 'others') },
    { ...settings, AUTH_ISSUER: 'they' },
    { AUTH_JWT_SECRET: SECRET },
  ]
  for (const other of others) t.equal((await service.as(await mint(other)).call('GET', '/jobs')).status, 401)
})

t.test('bad usage is answered with a sentence on standard error and exit code 2', async t => {
  const cases: [args: string[], sentence: RegExp, environment?: Record<string, string>][] = [
    [['token'], /--tenant/],
    [['token', '--tenant', 'acme'], /--tenant .* It must be a UUID\./],
    [
      ['token', '--tenant', TENANT, '--organization', '00000000-0000-0000-0000-000000000000'],
      /--organization .* nil UUID/,
    ],
    [['token', '--tenant', TENANT, '--job', '7'], /--job .* UUID/],
    [['token', '--tenant', TENANT, '--user', ''], /--user .* 1 to 255/],
    [['token', '--tenant', TENANT, '--features', 'veiw'], /--features .* Choose among view, create/],
    [['token', '--tenant', TENANT, '--features', ''], /--features/],
    ...['1y', '0s', '-1h', '1.5h', 'h', '1', '9999999d', ''].map((expires): [string[], RegExp] => [
      ['token', '--tenant', TENANT, '--expires', expires],
      /--expires .* 1h/,
    ]),
    [['token', '--tenant', TENANT, '--tenent', TENANT], /Unknown option '--tenent'/],
    [['token', TENANT], /./],
    [['tokens'], /There is no command tokens/],
    [['serve', 'now'], /There is no command now/],
    [['list', '--url', 'localhost'], /write it as http:/],
    [['run'], /command/],
    [['run', '--parse', '(', '--', 'true'], /regular expression/],
    [['list', '--status', 'done'], /Choose among pending/],
    [['wait', '--timeout', '5'], /90s/],
    [['completion', 'tcsh'], /bash, zsh, fish/],
    [['migrate'], /Set DATABASE_URL/, {}],
    [['token', '--tenant', TENANT], /Set AUTH_JWT_SECRET/, {}],
    [
      ['token', '--tenant', TENANT],
      /AUTH_JWKS_URL tokens come from the issuer/,
      { AUTH_JWKS_URL: 'https://login.example.com/' },
    ],
    [['token', '--tenant', TENANT], /at least 32 bytes/, { AUTH_JWT_SECRET: 'notTheSecretItself' }],
  ]
  for (const [args, sentence, environment] of cases) {
    const { status, stdout, stderr } = await headway(args, environment)
    t.match({ status, stdout }, { status: 2, stdout: '' }, args.join(' '))
    t.match(stderr, sentence, args.join(' '))
    t.notMatch(stderr, /\n +at |notTheSecretItself/, 'no stack, no secret')
  }
})

t.test('--help has examples', async t => {
  for (const args of [['--help'], ['token', '--help'], ['help', 'token']]) {
    const { status, stdout, stderr } = await headway(args, {})
    t.match({ status, stderr }, { status: 0, stderr: '' })
    t.match(stdout, /Examples:\n[^]*headway token/)
  }
  t.match((await headway(['--version'], {})).stdout, /^\d+\.\d+\.\d+\n$/)
})

t.test('headway token writes the token alone, and exits with 0, or with 2 for bad usage', t => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [MAIN, ...args], { env: { AUTH_JWT_SECRET: SECRET }, encoding: 'utf8' })
  const good = run('token', '--tenant', TENANT)
  t.match(good, { status: 0, stderr: '' })
  t.match(decodeJwt(good.stdout.trim()), { tenant_id: TENANT })
  t.match(run('token'), { status: 2, stdout: '', stderr: /--tenant/ })
  t.end()
})

t.test('headway, and headway serve, start the service and end it on a signal', async t => {
  const { url } = await createTestDatabase(t)
  for (const args of [[], ['serve']]) {
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: { PATH: process.env['PATH'], PORT: '0', DATABASE_URL: url, AUTH_JWT_SECRET: SECRET, HOST: '0.0.0.0' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const service = new ServiceProcess(child)
    t.teardown(() => service.kill('SIGKILL'))
    await service.ready()
    t.notMatch(service.stdout, SECRET)
    t.same(await service.kill('SIGTERM'), { code: 0, signal: null }, args.join(' '))
  }
})
