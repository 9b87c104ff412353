import fc from 'fast-check'
import t from 'tap'
import { createTestDatabase } from '../helpers/database.ts'

const MAX = Number.MAX_SAFE_INTEGER
const { pool } = await createTestDatabase(t)

/** One SQL function over many argument lists, in one statement: what a property costs is the round trip. */
const evaluate = async (call: string, columns: string, cases: unknown[][]): Promise<(number | null)[]> => {
  const names = columns.split(',').map(column => column.trim().split(' ')[0] ?? '')
  const records = cases.map(values => Object.fromEntries(values.map((value, n) => [names[n] ?? '', value])))
  const { rows } = await pool.query<{ value: string | number | null }>(
    `SELECT ${call} AS value FROM ROWS FROM (json_to_recordset($1) AS (${columns})) WITH ORDINALITY AS x ORDER BY ordinality`,
    [JSON.stringify(records)],
  )
  return rows.map(({ value }) => (value === null ? null : Number(value)))
}

const counts = fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: MAX }))

/** All cases of a property in one call. */
const sample = <T>(arbitrary: fc.Arbitrary<T>): T[] => fc.sample(arbitrary, { numRuns: 2_000 })

t.test('percent: floored, at most 99, null without a total, and never an overflow', async t => {
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
  const call = 'headway.percent(processed, total)'
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

t.test('next_percent: never back, except when the known total grew', async t => {
  const call = 'headway.next_percent(shown, processed, old_total, new_total, reported)'
  const columns = 'shown integer, processed bigint, old_total bigint, new_total bigint, reported float8'
  const table: [number, number, number | null, number | null, number | null, number][] = [
    [10, 50, 100, 100, null, 50],
    [60, 50, 100, 100, null, 60],
    [60, 50, 100, 200, null, 25],
    [60, 50, null, 200, null, 60],
    [60, 50, 200, 100, null, 60],
    [60, 50, 100, null, null, 60],
    [60, 50, null, null, 61.9, 61],
    [60, 50, null, null, 12, 60],
    [60, 50, null, null, 100, 99],
    [60, 50, null, null, null, 60],
    [0, 50, null, 100, 99, 50],
  ]
  const found = await evaluate(call, columns, table)
  t.same(
    found,
    table.map(row => row[5]),
  )
  const maybe = fc.option(counts)
  const cases = sample(
    fc.tuple(
      fc.integer({ min: 0, max: 99 }),
      counts,
      maybe,
      maybe,
      fc.option(fc.double({ min: 0, max: 100, noNaN: true })),
    ),
  )
  const values = await evaluate(call, columns, cases)
  cases.forEach((row, n) => {
    const [shown, , oldTotal, newTotal] = row
    const value = values[n]
    const grew = oldTotal !== null && newTotal !== null && newTotal > oldTotal
    const fine = value !== null && value !== undefined && value >= 0 && value <= 99 && (grew || value >= shown)
    if (!fine) t.fail(`${JSON.stringify(row)} gives ${value}`)
  })
})

t.test('hold_count: a sum above 2^53-1 is held there, unknown stays unknown', async t => {
  const found = await evaluate('headway.hold_count(n)', 'n numeric', [[0], [MAX], [MAX * 1000], [null]])
  t.same(found, [0, MAX, MAX, null])
})

t.test('worker_rate: null before the first advance, steady while expected, falling when overdue', async t => {
  const call = 'headway.worker_rate(whole, recent, advances, spent, idle)'
  const columns = 'whole float8, recent float8, advances bigint, spent float8, idle float8'
  const [none, steady, waiting, overdue, later, gone] = await evaluate(call, columns, [
    [0, 0, 0, 100, 100],
    [10, 10, 10, 100, 0],
    [10, 10, 10, 100, 10],
    [10, 10, 10, 100, 10 + 80],
    [10, 10, 10, 100, 10 + 160],
    [10, 10, 10, 1e9, 1e9],
  ])
  t.equal(none, null)
  t.equal(steady, 10, 'both averages say 10')
  t.equal(waiting, 10, 'not before it is later than usual')
  t.equal(overdue, 5, 'the time left is twice as long')
  t.ok(Math.abs((later ?? 0) - 10 / 3) < 1e-9, 'and grows evenly')
  t.ok(gone !== null && gone !== undefined && gone > 0 && gone < 10)
  const positive = fc.double({ min: 1e-9, max: 1e9, noNaN: true })
  const cases = sample(fc.tuple(positive, positive, fc.integer({ min: 1, max: MAX }), positive, positive))
  const values = await evaluate(call, columns, cases)
  cases.forEach((row, n) => {
    const value = values[n]
    const most = Math.max(row[0], row[1]) * (1 + 1e-9)
    if (!(value !== null && value !== undefined && value >= 0 && value <= most))
      t.fail(`${JSON.stringify(row)}: ${value}`)
  })
})

t.test('recent_trust: none while the two averages agree, all of it once chance cannot explain the gap', async t => {
  const found = await evaluate(
    'headway.recent_trust(whole, recent, advances)',
    'whole float8, recent float8, advances bigint',
    [
      [0, 0, 1],
      [7, 7, MAX],
      [1, 3, 1],
      [3, 1, 2],
      [1, 3, 4],
      [5, 0, 1],
      [0, 5, MAX],
    ],
  )
  t.same(found, [0, 0, 0.25, 0.5, 1, 1, 1])
})

t.test(
  'the alphas: the first advance is the average, a long gap counts no more than half of the time looked back',
  async t => {
    const columns = 'elapsed float8, spent float8, advances bigint'
    const cases = [
      [7, 100, 1],
      [5, 10, 2],
      [5, 600, 120],
      [300, 600, 60],
      [9, 3, 3],
    ]
    t.same(await evaluate('headway.whole_alpha(elapsed, spent, advances)', columns, cases), [
      1,
      0.5,
      5 / 600,
      40 / 600,
      1,
    ])
    t.same(await evaluate('headway.recent_alpha(elapsed, spent, advances)', columns, cases), [1, 0.5, 5 / 80, 1 / 3, 1])
    const positive = fc.double({ min: 0.001, max: 1e9, noNaN: true })
    const random = sample(fc.tuple(positive, positive, fc.integer({ min: 1, max: MAX })))
    const whole = await evaluate('headway.whole_alpha(elapsed, spent, advances)', columns, random)
    const recent = await evaluate('headway.recent_alpha(elapsed, spent, advances)', columns, random)
    random.forEach((row, n) => {
      const [slow, fast] = [whole[n] ?? -1, recent[n] ?? -1]
      if (!(slow >= 0 && slow <= fast && fast <= 1)) t.fail(`${JSON.stringify(row)}: ${slow}, ${fast}`)
    })
  },
)

t.test('rate_tau: at least 15 s, an eighth of the time spent, eight mean intervals', async t => {
  const found = await evaluate('headway.rate_tau(spent, advances)', 'spent float8, advances bigint', [
    [0, 0],
    [10, 100],
    [600, 1000],
    [1200, 2],
  ])
  t.same(found, [15, 15, 75, 4800])
})

t.test('worker_reports: within 30 s or three times its own interval', async t => {
  const call = `headway.worker_reports(to_timestamp(at), to_timestamp(heartbeat_at), to_timestamp(0), heartbeats)::integer`
  const found = await evaluate(call, 'at float8, heartbeat_at float8, heartbeats bigint', [
    [30, 0, 1],
    [31, 0, 1],
    [600 + 180, 600, 11],
    [600 + 181, 600, 11],
  ])
  t.same(found, [1, 0, 1, 0])
})
