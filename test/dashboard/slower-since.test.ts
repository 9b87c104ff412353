import fc from 'fast-check'
import t from 'tap'
import type { PeriodStatistics } from '../../src/contract/statistics.ts'
import { slowerSince } from '../../src/dashboard/data/slower-since.ts'

const DAY_MS = 86_400_000
const dayIndex = (start: string): number => (Date.parse(start) - Date.UTC(2026, 0, 1)) / DAY_MS
const dayOf = (n: number): string => new Date(Date.UTC(2026, 0, 1) + n * DAY_MS).toISOString()

/** A period for each median. null: no job completed. */
const series = (medians: readonly (number | null)[], completed = 20): PeriodStatistics[] =>
  medians.map((p50, n) => ({
    ...{ start: dayOf(n), completed: p50 === null ? 0 : completed, failed: 0, cancelled: 0, late: 0 },
    durationSeconds: { p50, p95: p50 },
  }))

const dayFound = (medians: readonly (number | null)[], completed?: number): string | undefined =>
  slowerSince(series(medians, completed))?.start

t.test('a type is slower since the period with which its medians rise to a new level', t => {
  const { start, beforeSeconds, sinceSeconds } = slowerSince(series([100, 102, 98, 101, 99, 140, 138, 143]))!
  t.same([start, Math.round(beforeSeconds), Math.round(sinceSeconds)], [dayOf(5), 100, 140])
  t.equal(dayFound([100, 100, 100, 150, 150]), dayOf(3), 'three periods before and two since are enough')
  t.equal(dayFound([100, 100, 150, 150, 150]), undefined, 'two before are not')
  t.equal(dayFound([100, 100, 100, 100, 150]), undefined, 'nor is one since')
  t.end()
})

t.test('what is told is a fifth and a second longer, or more, as on the page of statistics', t => {
  t.equal(dayFound([100, 100, 100, 121, 121]), dayOf(3))
  t.equal(dayFound([100, 100, 100, 119, 119]), undefined)
  t.equal(dayFound([0.5, 0.5, 0.5, 1.4, 1.4]), undefined, 'less than a second is no news')
  t.equal(dayFound([150, 150, 150, 100, 100]), undefined, 'faster is not slower')
  t.end()
})

t.test('a type that becomes slower little by little is slower since no day', t => {
  const drift = Array.from({ length: 14 }, (_, n) => 100 + 10 * n)
  t.equal(dayFound(drift), undefined)
  t.equal(dayFound(drift.map((median, n) => median * (n % 2 === 0 ? 1.03 : 0.97))), undefined)
  t.equal(dayFound(Array.from({ length: 14 }, (_, n) => 100 * 1.1 ** n)), undefined)
  t.end()
})

t.test('one slow or one fast period hides no change, and is none', t => {
  t.equal(dayFound([100, 100, 100, 400, 100, 100, 100]), undefined)
  t.equal(dayFound([100, 100, 100, 100, 100, 100, 400]), undefined)
  t.equal(dayFound([100, 160, 100, 101, 99, 102, 100, 100, 200, 202, 199, 201, 200]), dayOf(8))
  t.end()
})

t.test('a rhythm is no news: slow weekends and slow nights that were as slow before', t => {
  const weeks = (days: number) => Array.from({ length: days }, (_, n) => (n % 7 >= 5 ? 150 : 100))
  for (let days = 14; days < 28; days += 1) t.equal(dayFound(weeks(days)), undefined, `${days} days`)
  const nights = (hours: number) => Array.from({ length: hours }, (_, n) => (n % 24 >= 16 ? 200 : 100))
  for (let hours = 42; hours < 49; hours += 1) t.equal(dayFound(nights(hours)), undefined, `${hours} hours`)
  t.equal(dayFound([...weeks(12), 180, 180, 180]), dayOf(12), 'a day that has never been so slow is')
  t.end()
})

t.test('a type that is as fast again as before is not slower', t => {
  t.equal(dayFound([100, 100, 100, 100, 200, 200, 200, 100]), undefined)
  t.equal(dayFound([100, 100, 100, 200, 200, 200, 200, 100, 100, 100]), undefined)
  t.end()
})

t.test('periods without jobs, or with few, neither count nor interrupt', t => {
  t.equal(dayFound([100, null, 100, 100, null, null, 150, null, 150]), dayOf(6))
  t.equal(dayFound([100, null, 100, null, null, 150, 150]), undefined, 'two before are too few')
  t.equal(dayFound([100, 100, 100, 150, 150, 150], 4), undefined)
  const one = series([100, 100, 100, 150, 150, 150, 100])
  t.equal(slowerSince(one), null)
  t.equal(slowerSince([...one.slice(0, -1), { ...one[6]!, completed: 4 }])?.start, dayOf(3))
  t.equal(dayFound([]), undefined)
  t.equal(dayFound([null, null, 0, 0, 0, 0, 0]), undefined)
  t.end()
})

/** Numbers that look random, the same in each run: mulberry32. */
const randomFrom = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
}

t.test('of series that are only noise, fewer than one in 100 has a change; a clear step in noise is found', t => {
  const random = randomFrom(1)
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const noisy = (levels: number[], spread: number) => levels.map(level => level * Math.exp(spread * normal()))
  const level = Array.from({ length: 14 }, () => 100)
  const times = 2_000
  const share = (make: () => number[], isRight: (day: string | undefined) => boolean) =>
    Array.from({ length: times }, () => dayFound(make())).filter(isRight).length / times
  for (const spread of [0.1, 0.3]) {
    const found = share(
      () => noisy(level, spread),
      day => day !== undefined,
    )
    t.ok(found < 0.01, `spread ${spread}: ${found}`)
  }
  const step = level.map((median, n) => (n < 8 ? median : 1.5 * median))
  const found = share(
    () => noisy(step, 0.05),
    day => day === dayOf(8),
  )
  t.ok(found > 0.9, `step: ${found}`)
  t.end()
})

t.test('whatever the medians, the levels are such that the type is slower, and the day is one of the series', t => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.double({ min: 0, max: 1e6, noNaN: true })), { maxLength: 40 }), medians => {
      const found = slowerSince(series(medians))
      return found === null || (found.sinceSeconds > found.beforeSeconds && medians[dayIndex(found.start)] !== null)
    }),
  )
  t.end()
})
