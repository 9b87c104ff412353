import fc from 'fast-check'
import t from 'tap'
import { createTestDatabase } from '../helpers/database.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'

const MAX = Number.MAX_SAFE_INTEGER
const { pool } = await createTestDatabase(t)

/** One SQL function over many argument lists in one statement, because round trips take most of the time of a property. */
const evaluate = async (call: string, columns: string, cases: unknown[][]): Promise<(number | null)[]> => {
  const names = columns.split(',').map(column => column.trim().split(' ')[0] ?? '')
  const records = cases.map(values => Object.fromEntries(values.map((value, n) => [names[n] ?? '', value])))
  const { rows } = await pool.query<{ value: string | number | null }>(
    `SELECT ${call} AS value FROM ROWS FROM (json_to_recordset($1) AS (${columns})) WITH ORDINALITY AS x ORDER BY ordinality`,
    [JSON.stringify(records)],
  )
  return rows.map(({ value }) => (value === null ? null : Number(value)))
}

/** Postgres refuses results that are too small for a double; times are of milliseconds, and parts of percents. */
const decimals = (max: number) => fc.integer({ min: 0, max: max * 1000 }).map(n => n / 1000)
const counts = fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: MAX }))

/** All cases of a property in one call. */
const sample = <T>(arbitrary: fc.Arbitrary<T>): T[] => fc.sample(arbitrary, { numRuns: 2_000 })

t.test('percent: rounded down, at most 99, null without a total, and never an overflow', async t => {
  const table: [number, number | null, number | null][] = [
    [0, 100, 0],
    [1, 3, 33],
    [2, 3, 66],
    [99, 100, 99],
    [100, 100, 99],
    [150, 100, 99],
    [0, 0, 99],
    [5, 0, 99],
    [5, null, null],
    [MAX - 1, MAX, 99],
    [MAX, MAX, 99],
    [90_071_992_547_409, MAX, 0],
  ]
  const call = `${FUNCTIONS}.percent(processed, total)`
  const found = await evaluate(call, 'processed bigint, total bigint', table)
  t.same(
    found,
    table.map(([, , expected]) => expected),
  )
  const cases = sample(fc.tuple(counts, counts))
  const values = await evaluate(call, 'processed bigint, total bigint', cases)
  cases.forEach(([processed, total], n) => {
    const exact = total === 0 ? 99n : (BigInt(processed) * 100n) / BigInt(total)
    if (values[n] !== Number(exact > 99n ? 99n : exact)) t.fail(`${processed} of ${total} is ${values[n]}`)
  })
})

t.test('next_percent: never falls, unless it may; with an unknown percent it stays', async t => {
  const call = `${FUNCTIONS}.next_percent(shown, computed, may_fall)`
  const columns = 'shown integer, computed integer, may_fall boolean'
  const table: [number, number | null, boolean, number][] = [
    [10, 50, false, 50],
    [60, 50, false, 60],
    [60, 50, true, 50],
    [60, 70, true, 70],
    [60, null, false, 60],
    [60, null, true, 60],
    [0, 0, false, 0],
    [99, 0, true, 0],
  ]
  const found = await evaluate(call, columns, table)
  t.same(
    found,
    table.map(row => row[3]),
  )
})

t.test('percent_of_fraction: rounded down, at most 99, and the rounding of floats costs no percent', async t => {
  const call = `${FUNCTIONS}.percent_of_fraction(fraction)`
  const table: [number | null, number | null][] = [
    [0, 0],
    [0.0099, 0],
    [0.01, 1],
    [0.1 + 0.1 + 0.1, 30],
    [0.29, 29],
    [0.57, 57],
    [0.58, 58],
    [1 / 3, 33],
    [0.999, 99],
    [1, 99],
    [1.5, 99],
    [null, null],
  ]
  const found = await evaluate(call, 'fraction float8', table)
  t.same(
    found,
    table.map(row => row[1]),
  )
  const hundredths = Array.from({ length: 100 }, (_, n) => [n / 100])
  const percents = await evaluate(call, 'fraction float8', hundredths)
  t.same(
    percents,
    hundredths.map((_, n) => n),
    'n hundredths are n percent',
  )
  const cases = sample(fc.tuple(decimals(1)))
  const values = await evaluate(call, 'fraction float8', cases)
  cases.forEach(([fraction], n) => {
    const value = values[n] ?? -1
    const fine =
      value >= 0 && value <= 99 && (value === 99 || value <= 100 * fraction + 1e-8) && value > 100 * fraction - 1.01
    if (!fine) t.fail(`${fraction} is ${value}`)
  })
})

const stage = (name: string, weight = 0.25) => ({ name, weight })

t.test('stage_place: from 1, null for a stage that is not declared', async t => {
  const stages = ['load', 'Load', "it's", '{"a":1}', '\u{1f9f9}'].map(name => stage(name))
  const names = [...stages.map(({ name }) => name), 'LOAD', '', null, 'name']
  const found = await evaluate(
    `${FUNCTIONS}.stage_place(stages, stage)`,
    'stages jsonb, stage text',
    names.map(name => [stages, name]),
  )
  t.same(found, [1, 2, 3, 4, 5, null, null, null, null])
  t.same(
    await evaluate(`${FUNCTIONS}.stage_place(stages, stage)`, 'stages jsonb, stage text', [[null, 'load']]),
    [null],
    'no stages at all',
  )
})

t.test('stage_weights: the weights before a stage, and its own weight', async t => {
  const stages = [stage('a', 0.2), stage('b', 0), stage('c', 0.5), stage('d', 0.3)]
  const places = [0, 1, 2, 3, 4]
  const columns = 'stages jsonb, place integer'
  const cases = places.map(place => [stages, place])
  t.same(await evaluate(`(${FUNCTIONS}.stage_weights(stages, place))[1]`, columns, cases), [0, 0, 0.2, 0.2, 0.7])
  t.same(await evaluate(`(${FUNCTIONS}.stage_weights(stages, place))[2]`, columns, cases), [0, 0.2, 0, 0.5, 0.3])

  const lists = sample(fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 1, maxLength: 32 })).slice(0, 300)
  const normalised = lists.map(weights => {
    const sum = weights.reduce((total, weight) => total + weight, 0)
    return weights.map((weight, n) => stage(String(n), weight / sum))
  })
  const last = normalised.map(list => [list, list.length])
  const [before, own] = await Promise.all(
    [1, 2].map(part => evaluate(`(${FUNCTIONS}.stage_weights(stages, place))[${part}]`, columns, last)),
  )
  normalised.forEach((list, n) => {
    const sum = (before?.[n] ?? 0) + (own?.[n] ?? 0)
    if (Math.abs(sum - 1) > 1e-12) t.fail(`${JSON.stringify(list)} sums up to ${sum}`)
  })
})

t.test('stage_fraction: an empty stage is done, a reported percent counts only without a total', async t => {
  const call = `${FUNCTIONS}.stage_fraction(processed, total, reported)`
  const columns = 'processed bigint, total bigint, reported float8'
  const table: [number, number | null, number | null, number][] = [
    [0, 0, null, 1],
    [0, 0, 10, 1],
    [5, 0, null, 1],
    [0, 10, null, 0],
    [5, 10, null, 0.5],
    [5, 10, 90, 0.5],
    [10, 10, null, 1],
    [11, 10, null, 1],
    [5, null, null, 0],
    [5, null, 40, 0.4],
    [5, null, 100, 1],
    [MAX, MAX, null, 1],
    [0, MAX, null, 0],
  ]
  const found = await evaluate(call, columns, table)
  t.same(
    found,
    table.map(row => row[3]),
  )
  const cases = sample(fc.tuple(counts, fc.option(counts), fc.option(decimals(100))))
  const values = await evaluate(call, columns, cases)
  cases.forEach((row, n) => {
    const value = values[n]
    if (!(typeof value === 'number' && value >= 0 && value <= 1)) t.fail(`${JSON.stringify(row)} gives ${value}`)
  })
})

t.test(
  'rate_eta: the current stage by its rate, the later ones by the part that is done, null when neither is known',
  async t => {
    const call = `${FUNCTIONS}.rate_eta(rest, rate, later, done, spent)`
    const columns = 'rest bigint, rate float8, later float8, done float8, spent float8'
    const table: [number | null, number | null, number, number | null, number, number | null][] = [
      // A job with a total.
      [90, 10, 0, null, 10, 9],
      [0, 10, 0, null, 10, 0],
      [90, null, 0, null, 10, null],
      [90, 0, 0, null, 10, null],
      [90, 1e-12, 0, null, 10, null],
      // One of which only a percent is known.
      [null, null, 0, 0.25, 100, 300],
      [null, 5, 0, 0.25, 100, 300],
      [null, null, 0, 1, 100, 0],
      [null, null, 0, 0, 100, null],
      [null, null, 0, 0.25, 0, null],
      // A stage with others behind it: 9 s of its own, and half a job at 20 s for each tenth.
      [90, 10, 0.5, 0.1, 20, 9 + 100],
      [90, null, 0.5, 0.1, 20, 180],
      [90, 10, 0.5, 0, 20, null],
      // Rounding may leave a little more than everything.
      [null, null, 0, 1.0000000001, 100, 0],
      [90, 10, -1e-17, 0.9, 20, 9],
    ]
    const found = await evaluate(call, columns, table)
    table.forEach((row, n) => {
      const [expected, value] = [row[5], found[n] ?? null]
      const same = expected === null || value === null ? expected === value : Math.abs(expected - value) < 1e-9
      t.ok(same, `${JSON.stringify(row.slice(0, 5))} is ${expected}: ${value}`)
    })
    const part = decimals(1)
    const amount = decimals(1e9)
    const cases = sample(fc.tuple(fc.option(counts), fc.option(amount), part, fc.option(part), amount))
    const values = await evaluate(call, columns, cases)
    cases.forEach((row, n) => {
      const value = values[n]
      if (!(value === null || (Number.isFinite(value) && (value ?? -1) >= 0)))
        t.fail(`${JSON.stringify(row)}: ${value}`)
    })
  },
)

t.test('sample_is_due: by percent at most every 5 s, by time while no percent can show it', async t => {
  const call = `${FUNCTIONS}.sample_is_due(since, before, percent, sampled_percent, flat)::integer`
  const columns = 'since float8, before float8, percent integer, sampled_percent integer, flat boolean'
  const table: [number, number, number, number, boolean, number][] = [
    [4.999, 100, 50, 10, false, 0],
    [4.999, 0, 50, 10, true, 0],
    [5, 100, 11, 10, false, 1],
    [5, 101, 9, 10, false, 0],
    [6, 101, 9, 10, false, 1],
    [3600, 100, 10, 10, false, 0],
    [5, 100, 10, 10, true, 1],
    [5, 101, 10, 10, true, 0],
    [50, 1000, 10, 10, true, 1],
    [49.9, 1000, 10, 10, true, 0],
    [49.9, 1000, 11, 10, true, 1],
    [5, 0, 0, 0, true, 1],
  ]
  t.same(
    await evaluate(call, columns, table),
    table.map(row => row[5]),
  )
})

t.test('hold_count: a sum above 2^53-1 is cut to it, unknown stays unknown', async t => {
  const found = await evaluate(`${FUNCTIONS}.hold_count(n)`, 'n numeric', [[0], [MAX], [MAX * 1000], [null]])
  t.same(found, [0, MAX, MAX, null])
})

t.test('hold_seconds: more than 2^53-1 is cut to it, unknown stays unknown', async t => {
  const beyond = [2 ** 53, 1e300, 'Infinity', 'NaN']
  const found = await evaluate(`${FUNCTIONS}.hold_seconds(s)`, 's float8', [
    [0],
    [7],
    [MAX],
    [null],
    ...beyond.map(s => [s]),
  ])
  t.same(found, [0, 7, MAX, null, MAX, MAX, MAX, MAX])
})

t.test("worker_reports: true within 30 s or three times the worker's own interval", async t => {
  const call = `${FUNCTIONS}.worker_reports(to_timestamp(at), to_timestamp(heartbeat_at), to_timestamp(0), heartbeats)::integer`
  const found = await evaluate(call, 'at float8, heartbeat_at float8, heartbeats bigint', [
    [30, 0, 1],
    [31, 0, 1],
    [600 + 180, 600, 11],
    [600 + 181, 600, 11],
  ])
  t.same(found, [1, 0, 1, 0])
})
