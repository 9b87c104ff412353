import { execFile, spawn } from 'node:child_process'
import { appendFileSync, chownSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { chooseAccount } from '../../src/database/embedded/account.ts'
import { freePort } from '../../src/demo/free-port.ts'
import { makeDirectory } from '../helpers/process.ts'
import { query, until } from './calls.ts'

/** Where Debian puts the programs of each version. */
const DEBIAN = '/usr/lib/postgresql'
const HAPROXY = '/usr/sbin/haproxy'

const findPrograms = (): string | null => {
  if (!existsSync(DEBIAN)) return null
  const versions = readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a))
  return (
    versions.map(version => join(DEBIAN, version, 'bin')).find(bin => existsSync(join(bin, 'pg_basebackup'))) ?? null
  )
}

/** What is missing on this machine, as a sentence; false when nothing is. */
export const missingForCluster = (): string | false => {
  if (findPrograms() === null) return `needs a PostgreSQL in ${DEBIAN}: apt-get install postgresql`
  return existsSync(HAPROXY) ? false : `needs ${HAPROXY}: apt-get install haproxy`
}

/** A primary with a synchronous standby, and HAProxy with the configuration of the manual before both. */
export class Cluster {
  readonly #bin: string
  readonly #directory: string
  readonly #account: ReturnType<typeof chooseAccount>
  readonly #ports: { primary: number; standby: number; proxy: number }
  #isPromoted = false

  constructor(t: Test, ports: { primary: number; standby: number; proxy: number }) {
    this.#bin = findPrograms() ?? ''
    this.#directory = makeDirectory(t)
    this.#account = chooseAccount(this.#directory)
    this.#ports = ports
    mkdirSync(join(this.#directory, 'servers'))
    if (this.#account !== null) chownSync(join(this.#directory, 'servers'), this.#account.uid, this.#account.gid)
    t.teardown(async () => {
      for (const name of ['primary', 'standby'] as const) await this.#stop(name).catch(() => undefined)
    })
  }

  #data(name: string): string {
    return join(this.#directory, 'servers', name)
  }

  #url(port: number, user = 'headway', database = 'headway'): string {
    return `postgresql://${user}@127.0.0.1:${port}/${database}`
  }

  /** Through HAProxy, which leads to the primary. */
  get url(): string {
    return this.#url(this.#ports.proxy)
  }

  /** The server that is the primary now, past HAProxy. */
  get primaryUrl(): string {
    return this.#url(this.#isPromoted ? this.#ports.standby : this.#ports.primary)
  }

  async #run(program: string, ...args: string[]): Promise<void> {
    const identity = this.#account === null ? {} : { uid: this.#account.uid, gid: this.#account.gid }
    await promisify(execFile)(join(this.#bin, program), args, { cwd: join(this.#directory, 'servers'), ...identity })
  }

  #configure(name: string, lines: string[]): void {
    appendFileSync(join(this.#data(name), 'postgresql.conf'), `${lines.join('\n')}\n`)
  }

  async #start(name: string): Promise<void> {
    await this.#run(
      'pg_ctl',
      'start',
      '--wait',
      '-D',
      this.#data(name),
      '-l',
      join(this.#directory, 'servers', `${name}.log`),
    )
  }

  async #stop(name: string): Promise<void> {
    await this.#run('pg_ctl', 'stop', '--wait', '--mode=immediate', '-D', this.#data(name))
  }

  async startServers(): Promise<void> {
    const { primary, standby } = this.#ports
    await this.#run('initdb', '-D', this.#data('primary'), '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C')
    const settings = (port: number) => [
      "listen_addresses = '127.0.0.1'",
      `port = ${port}`,
      `unix_socket_directories = '${join(this.#directory, 'servers')}'`,
      'shared_buffers = 32MB',
      'max_connections = 80',
    ]
    this.#configure('primary', settings(primary))
    await this.#start('primary')
    const superuser = this.#url(primary, 'postgres', 'postgres')
    for (const statement of [
      'CREATE ROLE headway LOGIN',
      'CREATE ROLE haproxy LOGIN',
      'CREATE ROLE replica LOGIN REPLICATION',
    ]) {
      await query(superuser, statement)
    }
    await query(superuser, 'CREATE DATABASE headway OWNER headway')
    const source = `host=127.0.0.1 port=${primary} user=replica application_name=standby`
    await this.#run(
      'pg_basebackup',
      '-D',
      this.#data('standby'),
      '-d',
      source,
      '-R',
      '-X',
      'stream',
      '--checkpoint=fast',
    )
    this.#configure('standby', settings(standby))
    await this.#start('standby')
    // Of the primary alone: a standby that is promoted has no standby of its own yet, and would wait for it at each commit.
    await query(superuser, "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
    await query(superuser, 'SELECT pg_reload_conf()')
    await until(async () => {
      const [row] = await query<{ state: string }>(superuser, 'SELECT sync_state AS state FROM pg_stat_replication')
      return row?.state === 'sync'
    })
  }

  /** Runs HAProxy with a configuration that names the addresses of the manual. */
  async startProxy(t: Test, configuration: string): Promise<void> {
    const { primary, standby, proxy } = this.#ports
    const file = join(this.#directory, 'haproxy.cfg')
    const addresses: [documented: string, own: number][] = [
      ['127.0.0.1:6432', proxy],
      ['10.0.0.1:5432', primary],
      ['10.0.0.2:5432', standby],
    ]
    writeFileSync(
      file,
      addresses.reduce((text, [documented, own]) => {
        if (!text.includes(documented)) throw new Error(`the configuration does not name ${documented}`)
        return text.replace(documented, `127.0.0.1:${own}`)
      }, configuration),
    )
    const child = spawn(HAPROXY, ['-db', '-f', file], { stdio: 'ignore' })
    t.teardown(() => child.kill('SIGKILL'))
    // It takes servers in turn, and both of them before it has checked them.
    let inTurn = 0
    await until(async () => {
      const [server] = await query<{ standby: boolean }>(this.url, 'SELECT pg_is_in_recovery() AS standby')
      inTurn = server?.standby === false ? inTurn + 1 : 0
      return inTurn === 4
    })
  }

  /** The primary crashes. */
  crashPrimary(): Promise<void> {
    return this.#stop('primary')
  }

  /** Resolves when the standby takes writes. */
  async promoteStandby(): Promise<void> {
    await this.#run('pg_ctl', 'promote', '--wait', '-D', this.#data('standby'))
    this.#isPromoted = true
  }
}

export const startCluster = async (t: Test, configuration: string): Promise<Cluster> => {
  const cluster = new Cluster(t, { primary: await freePort(), standby: await freePort(), proxy: await freePort() })
  await cluster.startServers()
  await cluster.startProxy(t, configuration)
  return cluster
}
