// What jobs report, as lists of events: every kind in several variants, the same in every run (seeded, no real time).
//
// A trace is `{ kind, variant, total, events }`, its events in order of time (`at`, in seconds since the trace began):
//   { at, type: 'start' }              the attempt begins; `initial` is what an earlier attempt had done already
//   { at, type: 'retry' }              the attempt failed and the job is queued again
//   { at, type: 'report', worker, processed, done, remaining }
// `processed` is what that worker says (and `total`, its share, where it names one), `done` what all of them have said by
// then, and `remaining` the true time to the end of the attempt: of one that fails, to the end it would have had. The report
// of the end itself is not among them.

const VARIANTS = 16

/** mulberry32 by Tommy Ettinger, public domain: a small generator with a seed. */
export const createRandom = seed => {
  let state = seed
  const random = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const between = (low, high) => low + (high - low) * random()
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  return { random, between, normal, whole: (low, high) => Math.floor(between(low, high + 1)) }
}

/** Speed wavers by a fifth, and for a while: what is slow now is still slow in some seconds (correlation time 10 s). */
const createWavering = ({ normal }, step) => {
  const keep = Math.exp(-step / 10)
  let level = normal()
  return () => {
    level = keep * level + Math.sqrt(1 - keep * keep) * normal()
    return Math.exp(0.2 * level - 0.02)
  }
}

/** Work done over time at `rate(t, share)` units a second, until `total` is done. */
const work = (draw, total, rate, step = 1) => {
  const waver = createWavering(draw, step)
  const done = [0]
  while (done.at(-1) < total) {
    const last = done.at(-1)
    done.push(last + step * rate((done.length - 1) * step, last / total) * waver())
  }
  const last = done.length - 1
  const end = step * (last - (done[last] - total) / (done[last] - done[last - 1]))
  const at = t => {
    const place = t / step
    const n = Math.floor(place)
    if (n >= last) return total
    return Math.min(total, Math.floor(done[n] + (done[n + 1] - done[n]) * (place - n) + 1e-9))
  }
  return { end, at }
}

/** The reports of one worker on its own, every so many seconds, from `start` until the job ends or `until` says so. */
const report = (curve, every, { start = 0, initial = 0, until = curve.end, silent = () => false } = {}) => {
  const events = [{ at: start, type: 'start', initial }]
  for (let t = 0; t < until; t += every) {
    if (silent(t)) continue
    const processed = initial + curve.at(t)
    events.push({
      at: start + t,
      type: 'report',
      worker: 'default',
      processed,
      done: processed,
      remaining: curve.end - t,
    })
  }
  return events
}

const single = (draw, { minutes, every = 5, rate, silent }) => {
  // Units a second at full speed: from pages of a document to rows of a table.
  const speed = 10 ** draw.between(0.5, 3)
  const total = Math.round(speed * 60 * minutes)
  const curve = work(draw, total, (t, share) => speed * rate(t, share, 60 * minutes))
  return { total, events: report(curve, every, silent && { silent }) }
}

const steady = draw => single(draw, { minutes: draw.between(3, 40), rate: () => 1 })

const warmUp = draw => {
  const portion = draw.between(0.05, 0.2)
  return single(draw, {
    minutes: draw.between(3, 40),
    rate: (t, _, planned) => 1 - 0.9 * Math.exp(-t / (portion * planned)),
  })
}

const slowingDown = draw => {
  const slower = draw.between(1, 4)
  return single(draw, { minutes: draw.between(3, 30), rate: (_, share) => 1 / (1 + slower * share) })
}

const bursty = draw => {
  const bursts = []
  const isBusy = t => {
    while ((bursts.at(-1)?.until ?? 0) <= t) {
      const from = bursts.at(-1)?.until ?? 0
      const until = from + (bursts.length % 2 === 0 ? draw.between(5, 20) : draw.between(10, 60))
      bursts.push({ until, busy: bursts.length % 2 === 0 })
    }
    return bursts.findLast(({ until }, n) => until > t && (bursts[n - 1]?.until ?? 0) <= t).busy
  }
  return single(draw, { minutes: draw.between(2, 10), rate: t => (isBusy(t) ? 1 : 0) })
}

/** Nothing moves for as long as a tenth to a half of the job. The worker says that it is alive, or is silent. */
const stall = (draw, variant) => {
  const minutes = draw.between(5, 30)
  const from = 60 * minutes * draw.between(0.3, 0.6)
  const until = from + 60 * minutes * draw.between(0.1, 0.5)
  const stalls = t => t >= from && t < until
  return single(draw, {
    minutes,
    rate: t => (stalls(t) ? 0 : 1),
    silent: variant % 2 === 1 ? stalls : undefined,
  })
}

const twoPhases = (draw, variant) => {
  const turn = draw.between(0.3, 0.6)
  const factor = variant % 2 === 0 ? draw.between(0.2, 0.4) : draw.between(2.5, 5)
  return single(draw, { minutes: draw.between(5, 30), rate: (_, share) => (share < turn ? 1 : factor) })
}

/** Two to eight workers share the work. They join in the first half, and some leave before the end. */
const team = draw => {
  const planned = 60 * draw.between(10, 30)
  const speed = draw.between(5, 50)
  const workers = Array.from({ length: draw.whole(2, 8) }, (_, n) => ({
    name: `worker-${n}`,
    joins: n === 0 ? 0 : Math.round(draw.between(0, planned / 2)),
    leaves: n > 0 && draw.random() < 0.4 ? Math.round(planned * draw.between(0.6, 0.8)) : Infinity,
    speed: speed * draw.between(0.5, 1.5),
    waver: createWavering(draw, 1),
    done: 0,
  }))
  const total = Math.round(planned * speed)
  const events = [{ at: 0, type: 'start', initial: 0 }]
  const said = new Map()
  for (let t = 0; ; t += 1) {
    for (const worker of workers) {
      if (t < worker.joins || t > worker.leaves) continue
      if ((t - worker.joins) % 5 === 0) {
        said.set(worker.name, Math.floor(worker.done))
        const done = [...said.values()].reduce((sum, count) => sum + count, 0)
        events.push({ at: t, type: 'report', worker: worker.name, processed: said.get(worker.name), done })
      }
      worker.done += worker.speed * worker.waver()
    }
    if (workers.reduce((sum, worker) => sum + worker.done, 0) >= total) {
      const end = t + 1
      for (const event of events) event.remaining = end - event.at
      return { total, events }
    }
  }
}

const tiny = draw => {
  const seconds = draw.between(4, 20)
  const total = draw.whole(5, 60)
  const curve = work(draw, total, () => total / seconds, 0.1)
  return { total, events: report(curve, 1) }
}

/** Fails on its way and is tried again: from the beginning, or from where it was. */
const retried = (draw, variant) => {
  const speed = 10 ** draw.between(0.5, 3)
  const total = Math.round(speed * 60 * draw.between(5, 20))
  const first = work(draw, total, () => speed)
  const until = Math.round(first.end * draw.between(0.3, 0.7))
  const initial = variant % 2 === 0 ? 0 : first.at(until)
  const slower = draw.between(0.5, 1)
  const second = work(draw, total - initial, () => speed * slower)
  const start = until + draw.whole(10, 120)
  return {
    total,
    events: [...report(first, 5, { until }), { at: until, type: 'retry' }, ...report(second, 5, { start, initial })],
  }
}

/** One item in about ten minutes, and a heartbeat every 5 s. */
const rare = draw => {
  const total = draw.whole(10, 24)
  const ends = []
  for (let t = 0; ends.length < total; ends.push(t)) t += 600 * Math.exp(0.2 * draw.normal() - 0.02)
  const at = t => ends.filter(end => end <= t).length
  return { total, events: report({ end: ends.at(-1), at }, 5) }
}

const everyMinute = draw => single(draw, { minutes: draw.between(30, 120), every: 60, rate: () => 1 })

const KINDS = [
  ['steady', steady],
  ['warm-up', warmUp],
  ['slowing down', slowingDown],
  ['bursty', bursty],
  ['stall and resume', stall],
  ['two phases', twoPhases],
  ['workers come and go', team],
  ['tiny', tiny],
  ['retried', retried],
  ['an item in ten minutes', rare],
  ['reports once a minute', everyMinute],
]

/** All traces; `seed` makes others of the same kinds. */
export const makeTraces = seed =>
  KINDS.flatMap(([kind, make], k) =>
    Array.from({ length: VARIANTS }, (_, variant) => ({
      kind,
      variant,
      ...make(createRandom(seed * 7919 + k * 101 + variant), variant),
    })),
  )
