import { IntlMessageFormat } from 'intl-messageformat'
import fc from 'fast-check'
import t from 'tap'
import { durationText, leftRange, rangeSaid, rangeText } from '../../src/contract/time-left.ts'
import { de as dashboardDe } from '../../src/dashboard/messages/de.ts'
import { en as dashboardEn } from '../../src/dashboard/messages/en.ts'
import { fr as dashboardFr } from '../../src/dashboard/messages/fr.ts'
import { firstOf, Language } from '../../src/messages/language.ts'
import { PROGRESS_MESSAGES, progressLanguage, remainingText } from '../../src/messages/progress.ts'

type Catalogue = Readonly<Record<string, string>>

const CATALOGUES: Record<string, { en: Catalogue; de: Catalogue; fr: Catalogue }> = {
  elements: PROGRESS_MESSAGES,
  dashboard: { en: dashboardEn, de: dashboardDe, fr: dashboardFr },
}

/** The names of the values that a message asks for. */
const argumentsOf = (message: string, locale: string): string[] => {
  const names = new Set<string>()
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    const { type, value: name } = value as { type?: number; value?: unknown }
    // Literals (0) and the number sign of a plural (7) are no arguments.
    if (typeof type === 'number' && type !== 0 && type !== 7 && typeof name === 'string') names.add(name)
    for (const part of Object.values(value)) visit(part)
  }
  visit(new IntlMessageFormat(message, locale, undefined, { ignoreTag: true }).getAst())
  return [...names].sort()
}

for (const [name, catalogue] of Object.entries(CATALOGUES)) {
  t.test(`all languages of the ${name} say the same things with the same values`, t => {
    for (const [locale, messages] of Object.entries(catalogue)) {
      t.same(Object.keys(messages).sort(), Object.keys(catalogue.en).sort(), `${locale} has the same keys`)
      for (const [key, message] of Object.entries(messages)) {
        const names = argumentsOf(message, locale)
        const expected = argumentsOf(catalogue.en[key] ?? '', 'en')
        if (names.join() !== expected.join()) t.same(names, expected, `${locale} ${key}`)
        for (const count of [0, 1, 2, 5, 1_000_000]) {
          const values = Object.fromEntries(names.map(name => [name, count]))
          const text = new Language({ key: message }, locale).text('key', values)
          if (/[{}]|undefined|NaN/.test(text)) t.fail(`${locale} ${key}: ${text}`)
        }
      }
    }
    t.end()
  })
}

t.test('a message without the syntax of ICU is its own text, and is what ICU would make of it', t => {
  const byIcu = (message: string) =>
    new IntlMessageFormat(message, 'en', undefined, { ignoreTag: true }).format({ name: 'X' })
  for (const message of ['Jobs', 'Don’t <b>#</b>', "Don't", "It''s", "'{name}'", '{name}', "'{'", "''", '']) {
    t.equal(new Language({ key: message }, 'en').text('key', { name: 'X' }), byIcu(message), message)
  }
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', ' ', '#', '<', '|', "'", '’') }), message => {
      t.equal(new Language({ key: message }, 'en').text('key'), byIcu(message))
    }),
  )
  t.end()
})

t.test('the message keys that other products have used exist', t => {
  for (const key of [
    ...['title', 'activeCount', 'recentlyCompleted', 'eta.seconds', 'eta.minutes', 'eta.hoursMinutes'],
    ...['pending', 'running', 'completed', 'failed', 'cancelled'].map(status => `status.${status}`),
    ...['cancel', 'retry', 'dismiss'].map(action => `actions.${action}`),
    ...['notFound', 'cannotCancel', 'alreadyFinished'].map(error => `errors.${error}`),
  ]) {
    t.ok(`progress.${key}` in PROGRESS_MESSAGES.en, key)
  }
  const english = progressLanguage(['en'])
  t.equal(english.text('progress.activeCount', { count: 1 }), '1 operation running')
  t.equal(english.text('progress.activeCount', { count: 1234 }), '1,234 operations running')
  t.equal(progressLanguage(['de']).text('progress.activeCount', { count: 1234 }), '1.234 Vorgänge laufen')
  t.end()
})

t.test('names are text, whatever they look like', t => {
  const name = "<b>{count}</b> '{' & <img src=x onerror=alert(1)>"
  t.equal(progressLanguage(['en']).text('progress.label', { name }), `Progress of ${name}`)
  t.end()
})

t.test('the time left is never written as 60 seconds or 60 minutes', t => {
  const english = progressLanguage(['en'])
  const read = (seconds: number) => remainingText(english, seconds)
  t.same([0, 0.2, 59, 59.5, 60, 61, 3540, 3541, 3600, 3661, 90_000].map(read), [
    '0 s remaining',
    '1 s remaining',
    '59 s remaining',
    '1 min remaining',
    '1 min remaining',
    '2 min remaining',
    '59 min remaining',
    '1 h remaining',
    '1 h remaining',
    '1 h 2 min remaining',
    '1 day 1 h remaining',
  ])
  t.equal(remainingText(progressLanguage(['fr-CA']), 90), 'encore 2 min')
  t.end()
})

t.test("the first of the visitor's languages that exists is used", t => {
  const names = ['en', 'de'] as const
  t.same(firstOf(['it', 'de-CH', 'en'], names), { tag: 'de-CH', name: 'de' })
  t.equal(firstOf(['it'], names), null)
  t.same(firstOf(['de_nonsense--', 'EN-us'], names), { tag: 'EN-us', name: 'en' })
  t.equal(progressLanguage(['tlh', '']).locale, 'en')
  t.end()
})

t.test('numbers and times are written as their readers write them', t => {
  const [en, de] = [new Language({}, 'en'), new Language({}, 'de')]
  t.same([en.number(1234.5), de.number(1234.5)], ['1,234.5', '1.234,5'])
  t.same(
    [9_999, 10_000, 1_250_000].map(value => en.compact(value)),
    ['9,999', '10K', '1.3M'],
  )
  t.same([en.percent(42), en.share(0.005), en.share(0.5)], ['42%', '0.5%', '50%'])
  t.same(
    [0, 999, 1000, 1_500_000, 2e18].map(value => en.bytes(value)),
    ['0 byte', '999 byte', '1 kB', '1.5 MB', '2,000 PB'],
  )
  t.same(
    [0.12345, 123.4, 1234, 56_789].map(value => en.rate(value)),
    ['0.123', '123', '1,234', '56.8K'],
  )
  t.end()
})

t.test('a duration has its two largest parts, in the same units everywhere', t => {
  const times = [0, 0.123, 9.96, 12.4, 59.5, 60, 252, 3_600, 7_500, 86_400, 273_600, 86_459, -5]
  t.same(
    times.map(seconds => durationText(seconds, 'en')),
    ['0 s', '0.12 s', '10 s', '12 s', '1 min', '1 min', '4 min 12 s', '1 h', '2 h 5 min', '1 day', '3 days 4 h', '1 day', '0 s'],
  ) // prettier-ignore
  t.same(
    ['de', 'fr-CA', 'it'].map(locale => durationText(273_600, locale)),
    ['3 Tage 4 h', '3 jours 4 h', '3 days 4 h'],
  )
  t.equal(durationText(90_000, 'de'), '1 Tag 1 h')
  t.equal(durationText(1.25, 'de'), '1,3 s')
  const english = new Language({}, 'en')
  t.equal(english.duration(252), '4\u00a0min 12\u00a0s', 'a line breaks between the parts')
  t.equal(english.rough(252), '4 min')
  t.end()
})

t.test('no language abbreviates a million like a minute', t => {
  for (const locale of ['en', 'en-GB', 'en-IN', 'de', 'fr', 'fr-CA']) {
    const language = new Language({ key: '' }, locale)
    for (const value of [12_345, 221_700_000, 3e9, 4e12])
      t.notMatch(language.compact(value), /[^a-zA-Z][dhms]$/, locale)
  }
  t.equal(new Language({ key: '' }, 'en-GB').compact(221_700_000), '221.7M')
  t.end()
})

const minute = 60
const hour = 3_600
const day = 86_400

/** The text of an estimate and its ends, all in seconds. */
const shown = (low: number, seconds: number, high: number, passed = 0, locale = 'en'): string | null => {
  const range = leftRange({ etaSeconds: seconds, etaLowSeconds: low, etaHighSeconds: high }, passed)
  return range && rangeText(range, locale)
}

t.test('a range is shown with one unit where it has one, and otherwise each time has its own', async t => {
  const table: [low: number, seconds: number, high: number, text: string][] = [
    [9 * minute, 12 * minute, 18 * minute, 'about 12 min (9 to 18)'],
    [20, 45, 100, 'about 45 s (20 to 100)'],
    [20, 45, 300, 'about 45 s (20 s to 5 min)'],
    [40, 3 * minute, 6 * minute, 'about 3 min (40 s to 6 min)'],
    [70 * minute, 100 * minute, 3 * hour, 'about 100 min (70 min to 3 h)'],
    [2 * hour, 2.5 * hour, 4 * hour, 'about 2.5 h (2 to 4)'],
    [11 * hour, 20 * hour, 40 * hour, 'about 20 h (11 to 40)'],
    [30 * hour, 2 * day, 5 * day, 'about 2 days (30 h to 5 days)'],
    [3 * day, 12 * day, 2000 * day, 'about 12 days (3 to 2,000)'],
  ]
  for (const [low, seconds, high, text] of table) t.equal(shown(low, seconds, high), text)
})

t.test('the ends of a range are rounded outwards, and its middle is rounded like every time left', async t => {
  t.equal(shown(9.9 * minute, 11.2 * minute, 18.1 * minute), 'about 12 min (9 to 19)')
  t.equal(shown(2.9 * hour, 4.2 * hour, 6.1 * hour), 'about 4 h (2.5 to 6.5)', 'to halves below ten hours')
  t.equal(shown(10.9 * hour, 14.4 * hour, 18.1 * hour), 'about 14 h (10 to 19)', 'to whole ones above')
  t.equal(shown(119.5 * minute, 119.5 * minute, 300 * minute), 'about 2 h (119 min to 5 h)', 'no 120 minutes')
  t.equal(shown(60, 119.5, 400), 'about 2 min (60 s to 7 min)', 'no 120 seconds')
  t.equal(shown(30 * hour, 47.9 * hour, 100 * hour), 'about 2 days (30 h to 4.5 days)', 'no 48 hours')
})

t.test(
  'one number is shown if a range is narrow, has the same text at both ends, is unknown, or has passed',
  async t => {
    t.equal(shown(1000, 1100, 1199), null, 'its ends differ by less than a fifth')
    t.equal(shown(1000, 1100, 1201), 'about 19 min (16 to 21)')
    t.equal(shown(5, 9, 14), null, 'its ends differ by less than 10 s')
    t.equal(shown(5, 9, 15), 'about 9 s (5 to 15)')
    t.equal(shown(0, 0, 500), null, 'the estimated time is over')
    t.equal(shown(300, 400, 900, 400), null)
    t.equal(shown(600, 600, 600), null)
    for (const unknown of [
      {},
      { etaLowSeconds: 1 },
      { etaHighSeconds: 1000 },
      { etaLowSeconds: null, etaHighSeconds: null },
    ]) {
      t.equal(leftRange({ etaSeconds: 100, ...unknown }, 0), null)
    }
  },
)

t.test('a range that begins at once says only how long it may take', async t => {
  t.equal(shown(100, 220, 700, 100), 'about 2 min (up to 10)')
  t.equal(shown(100, 210, 700, 200), 'about 10 s (up to 9 min)')
  t.equal(shown(100, 220, 700, -50), shown(100, 220, 700), 'a clock that is behind adds nothing')
})

t.test('an estimate lies within its range as it is shown, however large, early or late', async () => {
  const size = { second: 1, minute, hour, day }
  const time = fc.double({ min: 0, max: 1e10, noNaN: true })
  const ordered = fc.tuple(time, time, time).map(times => times.sort((a, b) => a - b))
  fc.assert(
    fc.property(ordered, fc.oneof(time, fc.constant(0)), ([low, seconds, high], passed) => {
      const range = leftRange({ etaSeconds: seconds, etaLowSeconds: low, etaHighSeconds: high }, passed)
      if (range === null) return true
      const [least, about, most] = [range.low, range.about, range.high].map(each =>
        each ? each.value * size[each.unit] : 0,
      )
      return least! <= about! && about! <= most! && least! <= Math.max(0, low - passed) && most! >= high - passed
    }),
  )
})

t.test('a range has words in each language, and English ones in any other', async t => {
  const of = (locale: string) => shown(9 * minute, 12 * minute, 18 * minute, 0, locale)
  t.same(['en-GB', 'de-CH', 'fr', 'he'].map(of), [
    'about 12 min (9 to 18)',
    'etwa 12 min (9 bis 18)',
    'environ 12 min (9 à 18)',
    'about 12 min (9 to 18)',
  ])
  t.same(
    ['en', 'de', 'fr'].map(locale => shown(0, 3.5 * day, 6 * day, 0, locale)),
    ['about 3.5 days (up to 6)', 'etwa 3,5 Tage (bis 6)', 'environ 3,5 jours (jusqu’à 6)'],
  )
})

t.test('screen readers get the range as a sentence, with whole words and their singular', async t => {
  const said = (locale: string, low: number, seconds: number, high: number) => {
    const range = leftRange({ etaSeconds: seconds, etaLowSeconds: low, etaHighSeconds: high }, 0)
    // Intl has unbreakable blanks in some languages.
    return range && rangeSaid(range, locale).replaceAll('\u00a0', ' ')
  }
  t.same(
    ['en', 'de', 'fr'].map(locale => said(locale, 1, 12 * minute, 18 * minute)),
    [
      'about 12 minutes, probably from 1 second to 18 minutes',
      'etwa 12 Minuten, wahrscheinlich 1 Sekunde bis 18 Minuten',
      'environ 12 minutes, probablement de 1 seconde à 18 minutes',
    ],
  )
  t.equal(said('en', 0, 2.5 * hour, 4 * hour), 'about 2.5 hours, probably no more than 4 hours')
})
