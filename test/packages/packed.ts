import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const run = promisify(execFile)

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

interface Manifest {
  name: string
  version: string
  dependencies?: Record<string, string>
  [field: string]: unknown
}

export const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

/** The report of npm on a package that it packed. Sizes are in bytes; `size` is that of the tarball. */
export interface Packed {
  name: string
  size: number
  unpackedSize: number
  filename: string
  files: { path: string; size: number }[]
}

export interface World {
  packed: Record<'headway' | '@headway/worker' | '@headway/client', Packed>
  /** A project with the worker, the client and nothing else. */
  callers: string
  /** A project with all three packages and React 18, where `headway` finds its dependencies. */
  everything: string
  /** Projects with the worker, the client and a React of this version. */
  withReact: Record<18 | 19, string>
}

/** The files that a checkout needs to be packed, besides its build. */
const SOURCES = ['src', 'scripts', 'drizzle', 'packages', 'package.json', 'tsconfig.json', 'tsconfig.build.json']
const DOCUMENTS = ['openapi.yaml', 'README.md', 'LICENSE', 'CHANGELOG.md']

/** The files that these programs load have no source maps, so their coverage is not measured. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'NODE_V8_COVERAGE'))

/** npm, that asks no registry for anything. */
const npm = async (cwd: string, ...args: string[]): Promise<string> => {
  const { stdout } = await run('npm', [...args, '--offline', '--no-update-notifier'], { cwd, env: ENVIRONMENT })
  return stdout
}

const link = (project: string, name: string, from: string): void => {
  const target = join(project, 'node_modules', name)
  mkdirSync(dirname(target), { recursive: true })
  symlinkSync(realpathSync(join(from, name)), target)
}

/**
 * Packs all three out of a copy, as the checkout that the tests run from must not be built anew under them, and installs them in
 * projects that lie outside of it. The copy of the service is the one that was built; packing the worker builds both others.
 */
export const packAll = async (t: Test): Promise<World> => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'headway-packages-')))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const checkout = join(folder, 'checkout')
  const isBuilt = (path: string): boolean => /packages\/[^/]+\/dist/.test(path)
  for (const name of [...SOURCES, ...DOCUMENTS, 'dist']) {
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true, filter: path => !isBuilt(path) })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'))

  const pack = async (...args: string[]): Promise<Packed[]> =>
    JSON.parse(await npm(checkout, 'pack', '--json', '--pack-destination', folder, ...args)) as Packed[]
  const worker = await pack('--workspace', '@headway/worker')
  const rest = await pack('--workspace', '@headway/client', '--include-workspace-root', '--ignore-scripts')
  const packed = Object.fromEntries([...worker, ...rest].map(each => [each.name, each])) as World['packed']

  const makeProject = (name: string): string => {
    const project = join(folder, name)
    mkdirSync(project)
    writeFileSync(join(project, 'package.json'), '{ "private": true, "type": "module" }')
    return project
  }
  const tarballs = [packed['@headway/worker'], packed['@headway/client']].map(({ filename }) => join(folder, filename))

  const callers = makeProject('callers')
  await npm(callers, 'install', ...tarballs, '--ignore-scripts')
  const copyCallers = (project: string): void =>
    cpSync(join(callers, 'node_modules'), join(project, 'node_modules'), { recursive: true })

  const addReact = (project: string, from: string): void => {
    for (const name of ['react', 'react-dom', '@types/react', '@types/react-dom']) link(project, name, from)
  }
  const makeProjectWithReact = (name: string, from: string): string => {
    const project = makeProject(name)
    copyCallers(project)
    addReact(project, from)
    return project
  }
  const withReact = {
    18: makeProjectWithReact('react-18', join(ROOT, 'node_modules')),
    19: makeProjectWithReact('react-19', join(ROOT, 'test/react-19/node_modules')),
  }

  const everything = makeProject('everything')
  copyCallers(everything)
  addReact(everything, join(ROOT, 'node_modules'))
  const service = join(everything, 'node_modules/headway')
  mkdirSync(service)
  await run('tar', ['-xzf', join(folder, packed.headway.filename), '-C', service, '--strip-components=1'])
  for (const name of Object.keys(manifestOf(ROOT).dependencies ?? {})) {
    if (!name.startsWith('@headway/')) link(everything, name, join(ROOT, 'node_modules'))
  }
  // Makes the commands of the installed packages.
  await npm(everything, 'rebuild', '--ignore-scripts', 'headway')

  return { packed, callers, everything, withReact }
}

/** Some versions of Node 20 can require a module and some cannot: programs must do without. */
const NO_REQUIRE_OF_MODULES = process.allowedNodeEnvironmentFlags.has('--experimental-require-module')
  ? ['--no-experimental-require-module']
  : []

/** Runs a program in a project, as a module or as CommonJS. Gives its output. */
export const runIn = async (project: string, kind: 'module' | 'commonjs', source: string): Promise<string> => {
  const file = join(project, `program-${Math.random().toString(36).slice(2)}.${kind === 'module' ? 'mjs' : 'cjs'}`)
  writeFileSync(file, source)
  const { stdout } = await run(process.execPath, [...NO_REQUIRE_OF_MODULES, file], {
    cwd: project,
    env: ENVIRONMENT,
    timeout: 60_000,
  })
  return stdout.trim()
}

/** Runs a command of an installed package in a project, as its user would. */
export const npx = async (project: string, ...args: string[]): Promise<string> =>
  (await run('npx', ['--offline', '--no-install', ...args], { cwd: project, env: ENVIRONMENT })).stdout.trim()
