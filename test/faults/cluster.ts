import { execFile, spawn } from 'node:child_process'
import { appendFileSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { chooseAccount } from '../../src/database/embedded/account.ts'
import { freePort } from '../../src/demo/free-port.ts'
import { childrenOf, lives, makeDirectory, pauseServer } from '../helpers/process.ts'
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

/** As the standby calls itself in `synchronous_standby_names`, whichever of the two servers it is. */
const STANDBY_NAME = 'standby'

const SERVERS = ['a', 'b'] as const
type Server = (typeof SERVERS)[number]

/** Two servers, `a` and `b`: a primary with a synchronous standby, and HAProxy with the configuration of the manual before both. */
export class Cluster {
  readonly #bin: string
  readonly #directory: string
  readonly #account: ReturnType<typeof chooseAccount>
  readonly #ports: Record<Server | 'proxy', number>
  #primary: Server = 'a'

  constructor(t: Test, ports: Record<Server | 'proxy', number>) {
    this.#bin = findPrograms() ?? ''
    this.#directory = makeDirectory(t)
    this.#account = chooseAccount(this.#directory)
    this.#ports = ports
    mkdirSync(join(this.#directory, 'servers'))
    if (this.#account !== null) chownSync(join(this.#directory, 'servers'), this.#account.uid, this.#account.gid)
    t.teardown(async () => {
      for (const name of SERVERS) await this.#stop(name).catch(() => undefined)
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
    return this.#url(this.#ports[this.#primary])
  }

  get #standby(): Server {
    return this.#primary === 'a' ? 'b' : 'a'
  }

  get #superuserUrl(): string {
    return this.#url(this.#ports[this.#primary], 'postgres', 'postgres')
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

  /** What a server of its own has in its configuration. */
  #settings(server: Server): string[] {
    return [
      "listen_addresses = '127.0.0.1'",
      `port = ${this.#ports[server]}`,
      `unix_socket_directories = '${join(this.#directory, 'servers')}'`,
      'shared_buffers = 32MB',
      'max_connections = 80',
      // What pg_rewind needs, as docs/operate/failover.md says.
      'wal_log_hints = on',
      "wal_keep_size = '1GB'",
    ]
  }

  async startServers(): Promise<void> {
    await this.#run('initdb', '-D', this.#data('a'), '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C')
    this.#configure('a', this.#settings('a'))
    await this.#start('a')
    for (const statement of [
      'CREATE ROLE headway LOGIN',
      'CREATE ROLE haproxy LOGIN',
      'CREATE ROLE replica LOGIN REPLICATION',
    ]) {
      await query(this.#superuserUrl, statement)
    }
    await query(this.#superuserUrl, 'CREATE DATABASE headway OWNER headway')
    const source = `host=127.0.0.1 port=${this.#ports.a} user=replica application_name=${STANDBY_NAME}`
    await this.#run('pg_basebackup', '-D', this.#data('b'), '-d', source, '-R', '-X', 'stream', '--checkpoint=fast')
    this.#configure('b', this.#settings('b'))
    await this.#start('b')
    await this.#requireStandby()
  }

  /** From now on each commit waits for the standby. Resolves when that has all that there is. */
  async #requireStandby(): Promise<void> {
    // Of the primary alone: a standby that is promoted has no standby of its own yet, and would wait for it at each commit.
    await query(this.#superuserUrl, `ALTER SYSTEM SET synchronous_standby_names = '${STANDBY_NAME}'`)
    await query(this.#superuserUrl, 'SELECT pg_reload_conf()')
    await until(async () => {
      const [row] = await query<{ state: string }>(
        this.#superuserUrl,
        'SELECT sync_state AS state FROM pg_stat_replication',
      )
      return row?.state === 'sync'
    })
  }

  /** Runs HAProxy with a configuration that names the addresses of the manual. */
  async startProxy(t: Test, configuration: string): Promise<void> {
    const { a, b, proxy } = this.#ports
    const file = join(this.#directory, 'haproxy.cfg')
    const addresses: [documented: string, own: number][] = [
      ['127.0.0.1:6432', proxy],
      ['10.0.0.1:5432', a],
      ['10.0.0.2:5432', b],
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
    return this.#stop(this.#primary)
  }

  /** The primary hangs: its connections stay open, new ones are taken by the kernel, and nothing is answered. */
  hangPrimary(t: Test): void {
    const [pid = ''] = readFileSync(join(this.#data(this.#primary), 'postmaster.pid'), 'utf8').split('\n')
    pauseServer(t, Number(pid))
  }

  /** Ends a primary that hangs, as whoever cuts its power does, so that it never comes back as a second one. */
  async fencePrimary(): Promise<void> {
    const [pid = ''] = readFileSync(join(this.#data(this.#primary), 'postmaster.pid'), 'utf8').split('\n')
    const all = [Number(pid), ...childrenOf(Number(pid))]
    for (const each of all) process.kill(each, 'SIGKILL')
    await until(() => all.every(each => !lives(each)))
  }

  /** Resolves when the standby takes writes. */
  async promoteStandby(): Promise<void> {
    await this.#run('pg_ctl', 'promote', '--wait', '-D', this.#data(this.#standby))
    this.#primary = this.#standby
  }

  /** Makes the server that was the primary before a standby of the one that is. Resolves when each commit waits for it. */
  async rewindOldPrimary(): Promise<void> {
    const old = this.#standby
    const source = `host=127.0.0.1 port=${this.#ports[this.#primary]} user=postgres dbname=postgres application_name=${STANDBY_NAME}`
    // pg_rewind compares timelines, and a promoted server writes its own down at its first checkpoint.
    await query(this.#superuserUrl, 'CHECKPOINT')
    await this.#run('pg_rewind', '-D', this.#data(old), `--source-server=${source}`, '--write-recovery-conf')
    // It has the configuration of the other server now.
    this.#configure(old, this.#settings(old))
    await this.#start(old)
    await this.#requireStandby()
  }
}

export const startCluster = async (t: Test, configuration: string): Promise<Cluster> => {
  const cluster = new Cluster(t, { a: await freePort(), b: await freePort(), proxy: await freePort() })
  await cluster.startServers()
  await cluster.startProxy(t, configuration)
  return cluster
}
