// Earlier runs of the same type: a trace bent by another speed, another total, and a speed that wavers from tenth to tenth.

import { createRandom } from './traces.js'

const CELLS = 10

/** One earlier run: the last attempt of `trace`, from its beginning. Speed and total differ by a third, each tenth by a seventh. */
const bend = (trace, seed) => {
  const { normal } = createRandom(seed)
  const slower = Math.exp(0.3 * normal())
  const larger = Math.exp(0.3 * normal())
  const first = trace.events.findLastIndex(({ type }) => type === 'start')
  const { at: begun, initial } = trace.events[first]
  const reports = trace.events.slice(first).filter(({ type }) => type === 'report')
  const whole = reports[0].at - begun + reports[0].remaining
  const ends = [0]
  for (let cell = 0; cell < CELLS; cell += 1) {
    ends.push(ends.at(-1) + ((slower * whole) / CELLS) * Math.exp(0.15 * normal()))
  }
  const timeOf = t => {
    const place = Math.min(CELLS - 1e-9, (t / whole) * CELLS)
    const cell = Math.floor(place)
    return ends[cell] + (ends[cell + 1] - ends[cell]) * (place - cell)
  }
  const countOf = (count, from) => Math.round((count - from) * larger)
  const shareOf = ({ total }) => (total === undefined ? undefined : countOf(total, 0))
  const froms = new Map()
  const events = [{ at: 0, type: 'start', initial: 0 }]
  const said = new Map()
  for (const report of reports) {
    // Each worker's own count before this attempt; with several workers an attempt is the first.
    if (!froms.has(report.worker)) froms.set(report.worker, Math.min(initial, report.processed))
    // In whole seconds, so that many jobs report at the same time and one flush takes them. The last report of a second counts.
    const at = Math.round(timeOf(report.at - begun))
    const processed = countOf(report.processed, froms.get(report.worker))
    said.set(`${at} ${report.worker}`, { at, type: 'report', worker: report.worker, processed, total: shareOf(report) })
  }
  events.push(...said.values())
  return { total: Math.max(1, countOf(trace.total, initial)), events, end: Math.ceil(ends.at(-1)) }
}

/** When a run ends, in seconds from its beginning: a trace as makeTraces gives it says so in its last report. */
export const endOf = ({ events, end }) => end ?? events.at(-1).at + events.at(-1).remaining

/** The same traces, each with five earlier runs in `former`, unless it has some already. The same in every run. */
export const withFormer = (traces, seed) =>
  traces.map((trace, n) => ({
    ...trace,
    former:
      trace.former ?? Array.from({ length: 5 }, (_, run) => bend(trace, seed * 15_485_863 + n * 7919 + run * 101 + 1)),
  }))
