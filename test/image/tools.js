/* global performance */
// What the checks of the image and of the compose file have in common: programs, storage of images, and a minimal Debian.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { CACHE } from '../../scripts/npm-package.js'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MIRROR = 'http://deb.debian.org/debian'
const HEALTH_TIMEOUT_MS = 30_000

/** Runs a program; its output. Raises with what it wrote where it fails. */
export const run = (command, args, { allowFailure = false, ...options } = {}) => {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', ...options })
  if (error !== undefined) throw error
  if (status !== 0 && !allowFailure)
    throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stderr}${stdout}`)
  return { status, stdout: stdout ?? '', stderr: stderr ?? '' }
}

/** Prints what holds; raises where it does not. */
export const check = (holds, sentence, details = '') => {
  console.log(`${holds ? 'ok' : 'not ok'}  ${sentence}`)
  if (!holds) throw new Error(`${sentence} ${details}`)
}

/** Which of these programs must be installed, as a sentence; null where none is missing. */
export const findMissing = tools => {
  if (process.platform !== 'linux' || process.getuid() !== 0) return 'it needs root on Linux'
  const missing = tools.filter(tool => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  return missing.length === 0
    ? null
    : `${missing.join(', ')} must be installed (apt-get install -y --no-install-recommends)`
}

/** The folder of a minimal Debian with these packages. Kept from run to run. `finish` is run once, for what else belongs into it. */
export const makeDebian = (name, suite, packages, finish = () => undefined) => {
  const root = join(CACHE, `root-${name}`)
  if (!existsSync(join(root, 'complete'))) {
    rmSync(root, { recursive: true, force: true })
    run('debootstrap', ['--variant=minbase', `--include=${packages.join(',')}`, suite, root, MIRROR])
    finish(root)
    run('touch', [join(root, 'complete')])
  }
  return root
}

export const freePort = async () => {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return String(port)
}

/** With overlay, a container shares the files of its image; with vfs, which works everywhere, it copies all of them. */
const chooseDriver = directory => {
  const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map(name => join(directory, name))
  for (const each of [lower, upper, work, merged]) mkdirSync(each)
  const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`
  const mounts = run('mount', ['-t', 'overlay', 'overlay', '-o', layers, merged], { allowFailure: true }).status === 0
  if (mounts) run('umount', [merged])
  return mounts ? 'overlay' : 'vfs'
}

/**
 * buildah and podman with storage, networks and settings of their own, which are removed with `directory`. `environment` makes them
 * so for a program that calls podman by its name.
 */
export const createTools = directory => {
  mkdirSync(directory)
  const settings = join(directory, 'containers.conf')
  writeFileSync(
    settings,
    [
      '[containers]',
      // Those of podman itself are more than a machine may allow that is a container.
      'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
      'log_driver = "k8s-file"',
      '[network]',
      `network_config_dir = "${join(directory, 'networks')}"`,
      '[engine]',
      'cgroup_manager = "cgroupfs"',
      'runtime = "runc"',
      'events_logger = "file"',
    ].join('\n'),
  )
  const storage = join(directory, 'storage.conf')
  writeFileSync(
    storage,
    `[storage]\ndriver = "${chooseDriver(directory)}"\ngraphroot = "${join(directory, 'storage')}"\nrunroot = "${join(directory, 'run')}"\n`,
  )
  const environment = { ...process.env, CONTAINERS_CONF: settings, CONTAINERS_STORAGE_CONF: storage }
  return {
    environment,
    buildah: (...args) => run('buildah', args, { cwd: ROOT, env: environment }),
    podman: (args, options) => run('podman', args, { env: environment, ...options }),
  }
}

/** Makes an image of a folder. `changes` are instructions of a Dockerfile. */
export const importImage = ({ podman }, root, name, directory, changes = []) => {
  const archive = join(directory, 'image.tar')
  run('tar', ['-C', root, '-cf', archive, '.'])
  podman(['import', ...changes.flatMap(change => ['--change', change]), archive, name])
  rmSync(archive)
}

/** Runs the health check of a container until it passes. podman leaves that to systemd, which need not be here. */
export const waitUntilHealthy = async ({ podman }, container, sentence) => {
  const deadline = performance.now() + HEALTH_TIMEOUT_MS
  const ask = () => podman(['healthcheck', 'run', container], { allowFailure: true })
  let answer = ask()
  while (answer.status !== 0 && performance.now() < deadline) {
    await delay(200)
    answer = ask()
  }
  check(answer.status === 0, sentence, answer.stdout + answer.stderr)
}
