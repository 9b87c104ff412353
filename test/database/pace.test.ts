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
  const { rows } = await pool.query<{ pace: string }>('SELECT $1::text AS pace', ['(0,0,,0,0,{0},0,0,0,0,0,f)'])
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
  const { rows: last } = await pool.query<{
    rate: number
    error: number | null
    path: number[]
    left_out: number
    pace_seconds: number
    paused_seconds: number
  }>(
    `SELECT ${FUNCTIONS}.worker_rate((p).rate_units, (p).rate_seconds, (p).pace_seconds, (p).paused_seconds, $2, $3, 0) AS rate,
       (p).rate_error AS error, (p).pace_path AS path, (p).left_out, (p).pace_seconds, (p).paused_seconds
     FROM (SELECT $1::text::${FUNCTIONS}.worker_pace AS p) x`,
    [pace, steps.length, before],
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

t.test(
  'a worker without an advance has no rate, and the rate of an idle worker falls after its mean time of an advance',
  async t => {
    const rate = (...given: (number | string)[]) => `headway.worker_rate(${given.join(', ')})`
    const idleFor = (seconds: number) => rate(1000, 100, 100, 0, 10, 100, seconds)
    t.equal(await value(rate(0, 0, 0, 0, 0, 0, 100)), null)
    t.same(await numbers([idleFor(0), idleFor(10)]), [10, 10], 'not before it is later')
    t.same(await numbers([idleFor(110), idleFor(210)]), [5, 1000 / 300], 'and then evenly')
    t.equal(await value(rate(1000, 100, 400, 1200, 10, 1600, 0)), 2.5, 'a worker that pauses for 3 s after 1 s of work')
  },
)

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

t.test('after a lasting change to a faster or slower speed, the rate is the new speed', async t => {
  for (const factor of [0.1, 0.3, 3, 40]) {
    const { rate } = await walk(every(5, 200, at => (at <= 500 ? 100 : 100 * factor)))
    t.ok(isNear(rate, 100 * factor, 0.05), `${rate} is ${100 * factor}`)
  }
})

t.test('the rate soon leaves out work that was only skipped at the beginning', async t => {
  const { rate } = await walk(every(5, 20, at => (at <= 10 ? 4000 : 10)))
  t.ok(isNear(rate, 10, 0.1), String(rate))
})

t.test('a pause that comes back is part of the rate, and a single late pause is not', async t => {
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
  t.ok(isNear(recurring.rate, 5000 / 800, 0.1), `with its pauses: ${recurring.rate}`)
})

t.test('a long gap in which the work went on is no pause', async t => {
  const late = await walk([10, 20, 80, 90, 190].map((at): [number, number] => [at, at]))
  t.equal(late.paused_seconds, 0)
  const half = await walk([10, 20, 80].map((at): [number, number] => [at, at === 80 ? 50 : at]))
  t.equal(half.paused_seconds, 30, 'half of it was at work')
})

t.test('in the middle between two pauses, the rate is the same as before and after them', async t => {
  const steps = Array.from({ length: 200 }, (_, n): [number, number] => [
    5 * (n + 1) + 60 * Math.floor(n / 20),
    50 * (n + 1),
  ])
  const rates: number[] = []
  for (const length of [110, 115, 119, 121, 125, 130]) rates.push((await walk(steps.slice(0, length), () => 50)).rate)
  t.ok(Math.max(...rates) < 1.15 * Math.min(...rates), rates.join(', '))
})

t.test('a gap is a pause from more than three mean gaps on; a second one in a row is a slower pace', async t => {
  const pausedAfter = async (...ends: number[]) =>
    (await walk(ends.map((at, n): [number, number] => [at, n + 1]))).paused_seconds
  t.equal(await pausedAfter(10, 40), 0, 'after one advance nobody knows')
  t.equal(await pausedAfter(10, 20, 50), 0, 'three mean gaps')
  t.equal(await pausedAfter(10, 20, 51), 21, 'more than three: it counts as one')
  t.equal(await pausedAfter(10, 20, 51, 90), 21, 'the second in a row')
  t.equal(await pausedAfter(10, 20, 51, 90, 200), 21, 'and the third')
  const slow = await walk(
    Array.from({ length: 60 }, (_, n): [number, number] => [n < 30 ? n + 1 : 30 + 20 * (n - 29), n + 1]),
  )
  t.ok(isNear(slow.rate, 1 / 20, 0.1), `an item in 20 seconds, after 30 items in as many: ${slow.rate}`)
})

t.test(
  'left_out: the part of the longest gap beyond the usual gap, phased in from 20 to 40 percent of the job',
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

t.test('how long a step of the path is does not change the rate that follows from it', async t => {
  const followed = (step: number) => {
    const given = `'{0,1,4.6e8,9.4e8,9.4e8,9.4e8}', ${step}, ${5 * step}, 9.4e8, ${6 * step}, 9.4e8, 12`
    return `(headway.follow_pace(${given})).seconds / ${step}, (headway.follow_pace(${given})).units`
  }
  const [whole, odd] = [await numbers([followed(8)]), await numbers([followed(7.848592861909693)])]
  t.ok(isNear(odd[0]!, whole[0]!, 1e-9) && odd[1] === whole[1], `${odd.join()} are ${whole.join()}`)
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
/** The usual time until now and until the attempt began, as two arguments. */
const usualTimes = (share: number | null, begun: number) =>
  `headway.usual_time(${LATE}, ${share}, ${begun}), headway.at_share(${LATE}, 0, ${begun})`

t.test('the share of the usual time is linear between two twentieths', async t => {
  const found = await numbers([0, 0.5, 0.525, 1].map(share => `headway.at_share(${LATE}, 0, ${share})`))
  t.same(found, [0, 2500, 2500 + (0.55 ** 2 * 10_000 - 2500) / 2, 10_000])
})

t.test(
  'a job at the usual speed has the rest of the usual time left, and a slower job has more in proportion',
  async t => {
    const eta = (share: number | null, begun: number, spent: number) =>
      `headway.history_eta(1000, ${usualTimes(share, begun)}, ${spent})`
    const [half, end, slow] = await numbers([eta(0.5, 0, 250), eta(1, 0, 1000), eta(0.5, 0, 850)])
    t.same([half, end], [750, 0])
    t.ok(isNear(slow!, (750 * 950) / 350), 'the tenth of the usual time before dampens it')
    t.same(await numbers([eta(null, 0, 400), eta(0, 0, 400), eta(0.5, 0.5, 400)]), [600, 600, 600], 'without a share')
    t.equal(await value(eta(null, 0, 1000)), null, 'and nothing once the usual time is over')
    t.equal(await value(`headway.history_eta(NULL, headway.usual_time(NULL, 0.5, 0), NULL, 10)`), null)
  },
)

t.test(
  'the weight of history is 1 without a measured rate, 0 without a history, and otherwise follows from its weight and odds',
  async t => {
    const trust = `headway.at_share(${LATE}, 21, 0.5)`
    const weight = (given: string) => `headway.history_weight(${given})`
    const found = await numbers([
      weight(`${trust}, 1, NULL, 10`),
      weight(`${trust}, 1, 10, NULL`),
      weight(`headway.at_share(NULL, 21, 0.5), 1, 10, 20`),
      weight(`${trust}, 1, 10, 20`),
      weight(`${trust}, 3, 10, 20`),
      weight(`${trust}, 0, 10, 20`),
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

t.test(
  'a run that takes longer or shorter than earlier runs differed by has worse odds, the more of it is done',
  async t => {
    // Earlier runs differed by a standard deviation of 0.2.
    const odds = (share: number | null, begun: number, spent: number) =>
      `headway.duration_odds(1000, ${usualTimes(share, begun)}, ${spent}, ${share} - ${begun}, 200::smallint)`
    const after = (times: number) => 1000 * (times * 0.35 - 0.1)
    const [usual, edge, beyond, shorter, much, little] = await numbers([
      odds(0.5, 0, 250),
      odds(0.5, 0, after(Math.exp(0.2 * 1.41))),
      odds(0.5, 0, after(Math.exp(0.2 * 2))),
      odds(0.5, 0, after(Math.exp(-0.2 * 2))),
      odds(0.5, 0, after(10)),
      odds(0.05, 0, after(10)),
    ])
    t.same([usual, edge], [1, 1], 'as usual, and at the square root of two standard deviations')
    t.ok(isNear(beyond!, Math.exp(-1)) && isNear(shorter!, Math.exp(-1)), `at two: ${beyond} and ${shorter}`)
    t.ok(
      isNear(much!, Math.exp(-10)) && isNear(little!, Math.exp(-1)),
      `by e for each twentieth at most: ${much}, ${little}`,
    )
    t.same(await numbers([odds(null, 0, 10), odds(0.5, 0.5, 9000), odds(0.5, 0, 0)]), [1, 1, 1])
  },
)

t.test('a run that follows the shape has better odds than an even run', async t => {
  const odds = (path: number[]) => `headway.shape_odds('{${path.join(',')}}', ${LATE})`
  const alike = [0, 1, 2, 3, 4].map(n => Math.sqrt(n / 8))
  const even = [0, 1, 2, 3, 4].map(n => n / 8)
  const [follows, goes, early] = await numbers([odds(alike), odds(even), odds([0, 0.1])])
  t.ok(follows! > 10, `follows: ${follows}`)
  t.ok(goes! < 0.1, `goes its own way: ${goes}`)
  t.equal(early, 1, 'two points say nothing')
})

t.test('a range holds the estimate, narrows as the job goes on, and is wide where rates were wrong', async t => {
  const spread = (share: number, error: number | null) => `headway.eta_spread(NULL, ${share}, 0, ${error}, NULL)`
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
})

t.test(
  'a range is the wider, the more of its time a worker has paused, the longer at once, and the less is left',
  async t => {
    const variance = (paused: number, leftOut: number, longest: number, atWork: number) =>
      `headway.pause_variance(${paused}, ${leftOut}, ${longest}, ${atWork})`
    const found = await numbers([
      variance(60, 0, 40, 140),
      variance(20, 40, 40, 140),
      variance(60, 0, 20, 140),
      variance(0, 0, 40, 140),
    ])
    const [usual, leftOut, shorter, none] = found
    t.ok(isNear(usual!, (60 * 40) / 2 / 200 ** 2), `the sum of the pauses times half the longest: ${usual}`)
    t.equal(leftOut, usual, 'a pause that the rate leaves out counts as well')
    t.ok(isNear(shorter!, usual! / 2))
    t.equal(none, 0)
    t.equal(await value(variance(0, 0, 0, 0)), null, 'before the first advance')
    const spread = (share: number, paused: number | null) => `headway.eta_spread(NULL, ${share}, 0, 0, ${paused})`
    const [half, late, end, without] = await numbers([
      spread(0.5, 0.1),
      spread(0.9, 0.1),
      spread(1, 0.1),
      spread(0.5, null),
    ])
    t.ok(isNear(half! ** 2, 0.3 ** 2 + Math.log(1 + 0.1 / 0.5)), `half done: ${half}`)
    t.ok(isNear(late! ** 2, 0.06 ** 2 + Math.log(1 + 0.1 / 0.1)), `a tenth left: ${late}`)
    t.ok(isNear(end! ** 2, Math.log(1 + 0.1 / 0.01)), `at the end: ${end}`)
    t.ok(isNear(without!, 0.3), `without pauses: ${without}`)
  },
)

t.test(
  'a worker needs what is left of its share at its own rate; where that says nothing, the time is infinite',
  async t => {
    const left = (given: string) => `headway.share_left(${given})`
    const found = await numbers(
      [
        '100, 40, false, true, 3',
        '100, 100, false, false, NULL',
        'NULL, 0, false, true, NULL',
        'NULL, 1, false, true, 3',
        '100, 101, false, true, 3',
        '100, 40, true, true, 3',
        '100, 40, false, false, 3',
        '100, 40, false, true, NULL',
        '100, 40, false, true, 0',
        '100, 40, false, true, 2.5e-323',
      ].map(left),
    )
    const never = Infinity
    t.same(found, [20, 0, null, never, never, never, never, never, never, never])
  },
)

t.test('the longest share decides when a job ends, if the shares make up all of its work', async t => {
  const rate = (given: string) => `headway.rate_by_shares(${given})`
  const found = await numbers(
    ['100, 500, 500, 50, 10', '100, 499, 500, 50, 10', "100, 500, 500, 'infinity', 10", '100, 500, 500, NULL, 10'].map(
      rate,
    ),
  )
  t.same(found, [2, 10, 10, 10])
  t.same(
    await numbers(['100, 500, 500, 5, 10', '0, 500, 500, 0, 10'].map(rate)),
    [10, 10],
    'never faster than all together',
  )
})
