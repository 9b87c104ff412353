// What the peers need of this machine: each is found, or said how to get. A benchmark goes on without those that are missing.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startProgram } from './processes.js'

const HERE = fileURLToPath(new URL('..', import.meta.url))
const NCHAN_MODULES = ['/usr/lib/nginx/modules/ngx_nchan_module.so', '/usr/share/nginx/modules/ngx_nchan_module.so']

/** A peer that cannot be measured on this machine. The message says what to install. */
export class MissingError extends Error {}

const versionOf = (command, args, pattern) => {
  const { error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  return error ? null : (pattern.exec(`${stdout}${stderr}`)?.[1] ?? null)
}

const scratchDirectory = name => {
  const directory = mkdtempSync(join(tmpdir(), `headway-bench-${name}-`))
  chmodSync(directory, 0o755)
  return directory
}

export const redisVersion = () => versionOf('redis-server', ['--version'], /v=([\d.]+)/)

/**
 * Redis for BullMQ. `noeviction` and an append-only file are what BullMQ asks for
 * (https://docs.bullmq.io/guide/going-to-production); `always` makes it write before it answers
 * (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/). Reached by a unix socket, as Postgres is.
 */
export const startRedis = async ({ durable }) => {
  if (redisVersion() === null) {
    throw new MissingError('no redis-server: apt-get install -y --no-install-recommends redis-server')
  }
  const directory = scratchDirectory('redis')
  const socket = join(directory, 'redis.sock')
  const persistence = durable ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no']
  const program = await startProgram(
    'redis-server',
    [
      ...['--port', '0', '--unixsocket', socket, '--dir', directory, '--daemonize', 'no', '--save', ''],
      ...['--maxmemory-policy', 'noeviction', ...persistence],
    ],
    { ready: /[Rr]eady to accept connections/ },
  )
  const stop = async () => {
    await program.stop()
    rmSync(directory, { recursive: true, force: true })
  }
  return { socket, pid: program.pid, stop }
}

const freePort = async () => {
  const probe = createServer()
  probe.listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

export const nginxVersion = () => versionOf('nginx', ['-v'], /nginx\/([\d.]+)/)

export const nchanVersion = () =>
  versionOf('dpkg-query', ['-W', '-f', '${Version}', 'libnginx-mod-nchan'], /^(?:\d+:)?([\d.]+)/)

/**
 * nginx with nchan, configured as https://nchan.io/#getting-started and its directives ask for: one publisher and one
 * EventSource location, room in the buffer for readers that are behind, and no log of requests. One worker: where the load
 * generator has the other core, `worker_processes auto` delivered less.
 */
const nchanConfig = (directory, module, port, workers) => `
load_module ${module};
daemon off;
worker_processes ${workers};
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
worker_rlimit_nofile 20000;
events { worker_connections 15000; }
http {
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  client_body_buffer_size 64k;
  nchan_shared_memory_size 512M;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /publish {
      nchan_publisher http;
      nchan_channel_id feed;
      nchan_message_buffer_length 4000;
      nchan_message_timeout 1m;
    }
    location = /stream {
      nchan_subscriber eventsource;
      nchan_channel_id feed;
      nchan_subscriber_first_message newest;
    }
    location = /ready { return 204; }
  }
}
`

const untilAnswers = async url => {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const answer = await fetch(url).catch(() => null)
    if (answer) return
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error(`${url} does not answer`)
}

export const startNchan = async ({ workers = 1 } = {}) => {
  const module = NCHAN_MODULES.find(path => existsSync(path))
  if (nginxVersion() === null || module === undefined) {
    throw new MissingError(
      'no nginx with nchan: apt-get install -y --no-install-recommends nginx-light libnginx-mod-nchan',
    )
  }
  const directory = scratchDirectory('nginx')
  for (const name of ['body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']) mkdirSync(join(directory, name))
  const port = await freePort()
  writeFileSync(join(directory, 'nginx.conf'), nchanConfig(directory, module, port, workers))
  // It writes nothing when it is ready.
  const program = await startProgram('nginx', ['-p', directory, '-c', join(directory, 'nginx.conf')], { ready: null })
  await untilAnswers(`http://127.0.0.1:${port}/ready`)
  const stop = async () => {
    await program.stop()
    rmSync(directory, { recursive: true, force: true })
  }
  return { origin: `http://127.0.0.1:${port}`, pid: program.pid, stop }
}

export const haproxyVersion = () => versionOf('haproxy', ['-v'], /version ([\d.]+)/)

/** HAProxy as deploy/cells/haproxy.cfg has it, in front of one service. It is called by its address in place of a host name. */
export const startHaproxy = async target => {
  if (haproxyVersion() === null) {
    throw new MissingError('no haproxy: apt-get install -y --no-install-recommends haproxy')
  }
  const directory = scratchDirectory('haproxy')
  const port = await freePort()
  const sample = readFileSync(new URL('../../../deploy/cells/haproxy.cfg', import.meta.url), 'utf8')
  const settings = sample
    .slice(0, sample.indexOf('backend cell-1'))
    .replaceAll('/run/haproxy/', `${directory}/`)
    .replaceAll('/etc/haproxy/', `${directory}/`)
    .replace('bind :8080', `bind 127.0.0.1:${port}`)
    // A line for each heartbeat would be measured with them, and go to the terminal.
    .replace('log stdout format raw local0', '')
  writeFileSync(join(directory, 'tenants.map'), '127.0.0.1 cell-1\n')
  const file = join(directory, 'haproxy.cfg')
  writeFileSync(file, `${settings}\nbackend cell-1\n  server headway-1 ${new URL(target).host}\n`)
  // It writes nothing when it is ready.
  const program = await startProgram('haproxy', ['-db', '-f', file], { ready: null })
  await untilAnswers(`http://127.0.0.1:${port}/healthz`)
  const stop = async () => {
    await program.stop()
    rmSync(directory, { recursive: true, force: true })
  }
  return { origin: `http://127.0.0.1:${port}`, pid: program.pid, stop }
}

const readJson = path => JSON.parse(readFileSync(join(HERE, path), 'utf8'))

/** Whether every package is there in the version that test/bench/package.json names. */
const isInstalled = () =>
  Object.entries(readJson('package.json').dependencies).every(([name, version]) => {
    const path = `node_modules/${name}/package.json`
    return existsSync(join(HERE, path)) && readJson(path).version === version
  })

/** Installs the packages of test/bench/package.json, the first time and where one has changed. */
export const installPeers = () => {
  if (isInstalled()) return
  console.log('Installing what Headway is compared with into test/bench/node_modules.')
  const { status } = spawnSync('npm', ['install', '--ignore-scripts'], { cwd: HERE, stdio: 'inherit' })
  if (status !== 0)
    console.log('That failed: lines that need these packages are left out. Try `npm install` in test/bench.')
}

export const requirePeers = () => {
  if (!isInstalled()) throw new MissingError('no packages in test/bench/node_modules: run `npm install` in test/bench')
}
