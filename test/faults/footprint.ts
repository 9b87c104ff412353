import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { ServiceProcess } from '../helpers/process.ts'
import { scrape, type Scrape } from '../helpers/prometheus.ts'
import { until } from './calls.ts'

const IS_LINUX = process.platform === 'linux'

/** The resources that an idle replica holds. */
export interface Footprint {
  /** Open descriptors, but for those of its HTTP clients and of its pools; null where they cannot be seen. */
  descriptors: number | null
  /** Heap and buffers, after a collection. */
  bytes: number
}

export const poolConnections = (metrics: Scrape): number => metrics.value('headway_database_connections') ?? 0

/** Connections that are in use or being made, and statements that wait for one. */
export const poolBusy = (metrics: Scrape): number =>
  (metrics.value('headway_database_connections', { state: 'busy' }) ?? 0) +
  (metrics.value('headway_database_waiting') ?? 0)

/** The inodes of TCP sockets on a local port: proc_pid_net(5), columns 2 and 10. */
const socketsOn = (port: number): Set<string> => {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const lines = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)
  const columns = lines.map(line => line.trim().split(/\s+/))
  return new Set(columns.filter(([, local]) => local?.endsWith(suffix)).map(column => column[9] ?? ''))
}

const countDescriptors = ({ pid, url }: ServiceProcess): number => {
  const clients = socketsOn(Number(new URL(url).port))
  return readdirSync(`/proc/${pid}/fd`).filter(descriptor => {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${descriptor}`))?.[1]
      return inode === undefined || !clients.has(inode)
    } catch {
      return false
    }
  }).length
}

/** Needs a process with preload/collect.js. Waits for a moment in which its pools rest. */
export const measure = async (service: ServiceProcess): Promise<Footprint> => {
  service.child.kill('SIGWINCH')
  return until(async () => {
    const before = await scrape(service.url)
    const descriptors = IS_LINUX ? countDescriptors(service) - poolConnections(before) : null
    const after = await scrape(service.url)
    if (poolBusy(before) + poolBusy(after) > 0 || poolConnections(before) !== poolConnections(after)) return null
    const bytes = (after.value('nodejs_heap_size_used_bytes') ?? 0) + (after.value('nodejs_external_memory_bytes') ?? 0)
    return { descriptors, bytes }
  })
}
