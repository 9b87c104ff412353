// Contestants in turn within one run: what disturbs the machine meets all of them.
import { setTimeout as delay } from 'node:timers/promises'
import { cpuSecondsOf } from './environment/processes.js'
import { median } from './load/statistics.js'
import { MissingError } from './environment/programs.js'

/** After a turn, so that what it left to do (checkpoints, closing sockets) is not the next one's burden. */
const REST_MS = 1_000

const startAll = async (contestants, log) => {
  const started = []
  for (const contestant of contestants) {
    try {
      started.push({ name: contestant.name, ...(await contestant.start()) })
    } catch (error) {
      if (!(error instanceof MissingError)) throw error
      log(`  without ${contestant.name}: ${error.message}`)
      started.push({ name: contestant.name, missing: error.message })
    }
  }
  return started
}

const secondsBetween = (before, after) =>
  [...after].reduce((sum, [pid, value]) => sum + value - (before.get(pid) ?? 0), 0)

const secondsOf = groups => Object.entries(groups).map(([part, pids]) => [part, cpuSecondsOf(pids)])

/**
 * Microseconds of CPU per operation, of all the processes that are the contestant: wherever it waited, this is what it took.
 * `cpuParts` has them by part, such as the service and its database.
 */
const withCpu = async (measure, processes) => {
  if (processes === undefined) return measure()
  const before = new Map(secondsOf(await processes()))
  const result = await measure()
  const parts = secondsOf(await processes()).map(([part, after]) => [
    part,
    (secondsBetween(before.get(part) ?? new Map(), after) / result.total) * 1e6,
  ])
  return {
    ...result,
    cpuMicros: parts.reduce((sum, [, micros]) => sum + micros, 0),
    cpuParts: Object.fromEntries(parts),
  }
}

/**
 * Starts the contestants, `{ name, start }`, where `start` answers `{ measure, stop }`; measures each of them `rounds` times,
 * beginning with another one in each round. Those that answer `processes` as well, the ids of the processes they consist of by
 * part, have their CPU counted. Answers the results by name, or `{ missing }`.
 */
export const alternate = async (contestants, { rounds, log, show }) => {
  const results = new Map()
  let started = []
  try {
    started = await startAll(contestants, log)
    for (let round = 0; round < rounds; round += 1) {
      for (let n = 0; n < started.length; n += 1) {
        const { name, measure, processes, missing } = started[(n + round) % started.length]
        if (missing !== undefined) {
          results.set(name, { missing })
          continue
        }
        const result = await withCpu(measure, processes)
        log(`  round ${round + 1}, ${name}: ${show(result)}`)
        results.set(name, [...(results.get(name) ?? []), result])
        await delay(REST_MS)
      }
    }
  } finally {
    for (const { stop } of started.reverse()) await stop?.()
  }
  return results
}

/** The median of one figure over the rounds; null of a contestant that is missing. */
export const medianOf = (results, figure) =>
  Array.isArray(results) ? median(results.map(result => result[figure])) : null

const count = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })

export const perSecond = value => `${count.format(value)}/s`

const micros = value => value.toFixed(0)

/** Such as `79 (service 40, database 39)`. */
export const cpuText = ({ all, parts }) => {
  const named = Object.entries(parts).map(([part, value]) => `${part} ${micros(value)}`)
  return named.length > 1 ? `${micros(all)} (${named.join(', ')})` : micros(all)
}

/** For the line of a round. */
export const showCpu = ({ cpuMicros, cpuParts }) => `${cpuText({ all: cpuMicros, parts: cpuParts })} µs of CPU each`

const cpuFigures = (own, peer) => (own && peer ? `; ${cpuText(own)} to ${cpuText(peer)} µs of CPU each` : '')

export const cpuOf = results =>
  Array.isArray(results)
    ? {
        all: medianOf(results, 'cpuMicros'),
        parts: Object.fromEntries(
          Object.keys(results[0].cpuParts).map(part => [part, median(results.map(({ cpuParts }) => cpuParts[part]))]),
        ),
      }
    : null

/** One row of the table: our median by that of a peer. CPU is that of the contestants, without the load. */
const ratioRow = ({ what, against, own, peer, target, missing, ownCpu, peerCpu }) => ({
  what,
  against,
  target: target === null ? '' : `≥ ${target} ×`,
  ...(missing === undefined
    ? {
        reached: `${(own / peer).toFixed(2)} ×`,
        met: target === null ? null : own / peer >= target,
        figures: `${perSecond(own)} to ${perSecond(peer)}${cpuFigures(ownCpu, peerCpu)}`,
      }
    : { reached: '', met: null, figures: missing }),
})

/** A row for each peer: what Headway does a second, by what it does. */
export const ratioRows = (what, peers, results, { showsCpu = false } = {}) =>
  peers.map(({ name, target }, n) => {
    const medians = contestant => ({
      rate: medianOf(results.get(contestant), 'perSecond'),
      cpu: showsCpu ? cpuOf(results.get(contestant)) : null,
    })
    const [own, peer] = [medians('Headway'), medians(name)]
    return ratioRow({
      what: n === 0 ? what : 'the same',
      against: name,
      own: own.rate,
      peer: peer.rate,
      target,
      ownCpu: own.cpu,
      peerCpu: peer.cpu,
      missing: results.get(name).missing,
    })
  })
