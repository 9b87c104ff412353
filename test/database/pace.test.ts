import t from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { createTestDatabase } from '../helpers/database.ts'

const { pool } = await createTestDatabase(t)

const value = async <T>(expression: string): Promise<T> => {
  const { rows } = await pool.query<{ value: T }>(
    `SELECT ${expression.replaceAll('headway.', `${FUNCTIONS}.`)} AS value`,
  )
  return rows[0]!.value
}
const numbers = (expressions: string[]) => value<number[]>(`ARRAY[${expressions.join(', ')}]::float8[]`)
const isNear = (actual: number, expected: number, tolerance = 0.01) =>
  Math.abs(actual - expected) <= tolerance * Math.max(1e-9, Math.abs(expected))

/** A worker that advances at the given times by the given counts, as the flush steps it. */
const walk = async (steps: [at: number, count: number][], percentOf: (count: number) => number | null = () => null) => {
  const { rows } = await pool.query<{ pace: string }>('SELECT $1::text AS pace', ['(0,0,,0,0,{0},0,0,0,0)'])
  let pace = rows[0]!.pace
  let [before, done] = [0, 0]
  for (const [n, [at, count]] of steps.entries()) {
    const { rows: next } = await pool.query<{ pace: string }>(
      `SELECT ${FUNCTIONS}.advance_pace($1::text::${FUNCTIONS}.worker_pace, $2, $3, $4, $5, $6)::text AS pace`,
      [pace, count - done, at - before, at, n + 1, percentOf(done)],
    )
    pace = next[0]!.pace
    ;[before, done] = [at, count]
  }
  const { rows: last } = await pool.query<{ rate: number; error: number | null; path: number[]; left_out: number }>(
    `SELECT (p).rate_units / (p).rate_seconds AS rate, (p).rate_error AS error, (p).pace_path AS path, (p).left_out
     FROM (SELECT $1::text::${FUNCTIONS}.worker_pace AS p) x`,
    [pace],
  )
  return last[0]!
}
const every = (seconds: number, times: number, rateAt: (at: number) => number) => {
  let count = 0
  return Array.from({ length: times }, (_, n): [number, number] => {
    const at = (n + 1) * seconds
    count += Math.round(seconds * rateAt(at))
    return [at, count]
  })
}

t.test('a worker without an advance has no rate; an idle one slows once it is later than its mean advance', async t => {
  const rate = (...given: (number | string)[]) => `headway.worker_rate(${given.join(', ')})`
  t.equal(await value(rate(0, 0, 0, 0, 100)), null)
  t.same(await numbers([rate(1000, 100, 10, 100, 0), rate(1000, 100, 10, 100, 10)]), [10, 10], 'not before it is later')
  t.same(
    await numbers([rate(1000, 100, 10, 100, 110), rate(1000, 100, 10, 100, 210)]),
    [5, 1000 / 300],
    'and then evenly',
  )
})

t.test('a steady worker has its average, whatever its size and the time between its advances', async t => {
  for (const [seconds, rate] of [
    [1, 3],
    [5, 1000],
    [600, 1 / 600],
    [60, 1e12],
  ] as const) {
    const found = await walk(every(seconds, 100, () => rate))
    t.ok(isNear(found.rate, rate), `${found.rate} is ${rate}`)
    t.ok((found.error ?? 1) < 0.01, `such rates were right: ${found.error}`)
    t.ok(found.path.length <= 8)
  }
})

t.test('after a change of speed that lasts, the rate is the new one; a faster and a slower one alike', async t => {
  for (const factor of [0.1, 0.3, 3, 40]) {
    const { rate } = await walk(every(5, 200, at => (at <= 500 ? 100 : 100 * factor)))
    t.ok(isNear(rate, 100 * factor, 0.05), `${rate} is ${100 * factor}`)
  }
})

t.test('what was only skipped at first is soon forgotten', async t => {
  const { rate } = await walk(every(5, 20, at => (at <= 10 ? 4000 : 10)))
  t.ok(isNear(rate, 10, 0.1), String(rate))
})

t.test('a pause that comes back is part of the rate; one that came once, late in the job, is not', async t => {
  const once: [number, number][] = []
  const often: [number, number][] = []
  for (let n = 1; n <= 100; n += 1) {
    once.push([5 * n + (n > 50 ? 300 : 0), 50 * n])
    often.push([5 * n + 60 * Math.floor(n / 20), 50 * n])
  }
  const late = await walk(once, () => 50)
  t.ok(isNear(late.rate, 10, 0.1), `without the pause: ${late.rate}`)
  t.ok(late.left_out > 270)
  const early = await walk(once, () => 10)
  t.ok(isNear(early.rate, 5000 / 800, 0.4) && early.left_out === 0, `early in a job it counts: ${early.rate}`)
  const recurring = await walk(often, () => 50)
  t.ok(isNear(recurring.rate, 5000 / 800, 0.15), `with its pauses: ${recurring.rate}`)
})

t.test(
  'left_out: what the longest gap has beyond the usual one, from 20 to 40 percent of the job more and more',
  async t => {
    const found = await numbers(
      ['100, 100, 90', '100, 40, 20', '100, 40, 30', '100, 40, 40', '100, 40, 99', '100, 40, NULL'].map(
        given => `headway.left_out(${given})`,
      ),
    )
    t.same(found, [0, 0, 30, 60, 60, 60])
    t.same(await numbers(['headway.usual_gap(50, 100, 10)', 'headway.usual_gap(30, 100, 10)']), [50, 40])
  },
)

t.test('a path keeps at most eight even points, from 0 to its last moment', async t => {
  const path = (text: string) => value<string>(`(headway.extend_path(${text}))::text`)
  t.equal(await path("'{0}', 0, 0, 0, 5, 50"), '("{0,50}",5)', 'the first advance sets the step')
  t.equal(await path("'{0}', 0, 0, 0, 0.2, 50"), '({0},1)', 'of at least a second')
  t.equal(await path("'{0,50}', 5, 5, 50, 17, 170"), '("{0,50,100,150}",5)', 'linear between two reports')
  t.equal(await path("'{0,1,2,3,4,5,6,7}', 1, 7, 7, 8, 8"), '("{0,2,4,6,8}",2)', 'every second point is left out')
  t.equal(await path("'{0,1}', 1, 1, 1, 1000000, 1"), await path("'{0,1}', 1, 1, 1, 1000000, 1"))
  const long = await value<number>(`cardinality((headway.extend_path('{0,1}', 1, 1, 1, 1e9, 5)).path)`)
  t.ok(long >= 4 && long <= 8, 'also after a gap of years')
})

t.test('an idle time that is expected is subtracted, up to the mean time of an advance', async t => {
  const found = await numbers(
    ['5, 100, 10', '50, 100, 10', '-1, 100, 10', '5, 100, 0', 'NULL, NULL, NULL'].map(
      given => `headway.expected_idle(${given})`,
    ),
  )
  t.same(found, [5, 10, 0, 0, 0])
})

/** A shape by its three parts, each the same everywhere or a function of the twentieth. */
const shapeOf = (time: (k: number) => number, weight = 5000, spread = 200) => {
  const twentieths = Array.from({ length: 21 }, (_, k) => k)
  return `'{${[...twentieths.map(k => Math.round(10_000 * time(k / 20))), ...twentieths.map(() => weight), ...twentieths.map(() => spread)].join(',')}}'::smallint[]`
}
const LATE = shapeOf(share => share ** 2)

t.test('the share of the usual time is linear between two twentieths', async t => {
  const found = await numbers([0, 0.5, 0.525, 1].map(share => `headway.at_share(${LATE}, 0, ${share})`))
  t.same(found, [0, 2500, 2500 + (0.55 ** 2 * 10_000 - 2500) / 2, 10_000])
})

t.test(
  'a job that goes as usual has what is left of the usual time; a slower one more, as much as it is slower',
  async t => {
    const eta = (share: number | null, begun: number, spent: number) =>
      `headway.history_eta(1000, ${LATE}, ${share}, ${begun}, ${spent})`
    const [half, end, slow] = await numbers([eta(0.5, 0, 250), eta(1, 0, 1000), eta(0.5, 0, 850)])
    t.same([half, end], [750, 0])
    t.ok(isNear(slow!, (750 * 950) / 350), 'the tenth of the usual time before dampens it')
    t.same(await numbers([eta(null, 0, 400), eta(0, 0, 400), eta(0.5, 0.5, 400)]), [600, 600, 600], 'without a share')
    t.equal(await value(eta(null, 0, 1000)), null, 'and nothing once the usual time is over')
    t.equal(await value(`headway.history_eta(NULL, NULL, 0.5, 0, 10)`), null)
  },
)

t.test(
  'history counts alone without a measured rate, not at all without a history, and else by its weight and odds',
  async t => {
    const weight = (given: string) => `headway.history_weight(${given})`
    const found = await numbers([
      weight(`${LATE}, 0.5, 1, NULL, 10`),
      weight(`${LATE}, 0.5, 1, 10, NULL`),
      weight(`NULL, 0.5, 1, 10, 20`),
      weight(`${LATE}, 0.5, 1, 10, 20`),
      weight(`${LATE}, 0.5, 3, 10, 20`),
      weight(`${LATE}, 0.5, 0, 10, 20`),
    ])
    t.same(found, [0, 1, 1, 0.5, 0.75, 0])
    const blend = await numbers(
      ['80, 40, 1', '80, 40, 0', 'NULL, 40, 0', '80, NULL, 1', '0, 99, 0.5'].map(
        given => `headway.blend_eta(${given})`,
      ),
    )
    t.same(blend.slice(0, 4), [80, 40, 40, 80])
    t.ok(isNear(blend[4]!, 9), 'by logarithms')
  },
)

t.test('a run that follows the shape has better odds than one that goes its own, even way', async t => {
  const odds = (path: number[]) => `headway.shape_odds('{${path.join(',')}}', 10, ${LATE})`
  const alike = [0, 1, 2, 3, 4].map(n => Math.sqrt(n / 8))
  const even = [0, 1, 2, 3, 4].map(n => n / 8)
  const [follows, goes, early] = await numbers([odds(alike), odds(even), odds([0, 0.1])])
  t.ok(follows! > 10, `follows: ${follows}`)
  t.ok(goes! < 0.1, `goes its own way: ${goes}`)
  t.equal(early, 1, 'two points say nothing')
})

t.test('a range holds the estimate, narrows as the job goes on, and is wide where rates were wrong', async t => {
  const spread = (share: number, error: number | null) => `headway.eta_spread(NULL, ${share}, 0, ${error})`
  const [early, late, wrong, unknown] = await numbers([
    spread(0.1, 0.1),
    spread(0.9, 0.1),
    spread(0.9, 1),
    spread(0.9, null),
  ])
  t.ok(late! < early! && early! < wrong!)
  t.equal(wrong, unknown)
  t.same(await numbers(['headway.eta_low(100, 0)', 'headway.eta_high(100, 0)']), [100, 100])
  t.same(await numbers(['headway.eta_low(100, 0.5)', 'headway.eta_high(100, 0.5)']), [52, 190])
  t.equal(await value('headway.eta_low(100, NULL)'), null)
  t.equal(await value<string>('headway.eta_high(9007199254740991, 5)::text'), '9007199254740991')
})
