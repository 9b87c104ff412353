import { IntlMessageFormat } from 'intl-messageformat'
import t from 'tap'
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

t.test('the message keys that other products use exist', t => {
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

t.test('the time that is left never reads as 60 seconds or 60 minutes', t => {
  const english = progressLanguage(['en'])
  const read = (seconds: number) => remainingText(english, seconds)
  t.same([0, 0.2, 59, 59.5, 60, 61, 3540, 3541, 3600, 3661, 90_000].map(read), [
    '0s remaining',
    '1s remaining',
    '59s remaining',
    '1m remaining',
    '1m remaining',
    '2m remaining',
    '59m remaining',
    '1h 0m remaining',
    '1h 0m remaining',
    '1h 2m remaining',
    '25h 0m remaining',
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
  t.same(
    [0, 59, 60, 252, 7500, 273_600].map(value => en.duration(value)),
    ['0s', '59s', '1m', '4m 12s', '2h 5m', '3d 4h'],
  )
  t.same(
    [0.123, 9.96, 12.4].map(value => en.preciseDuration(value)),
    ['0.12s', '10s', '12s'],
  )
  t.end()
})

t.test('in no language a million is abbreviated like a minute', t => {
  for (const locale of ['en', 'en-GB', 'en-IN', 'de', 'fr', 'fr-CA']) {
    const language = new Language({ key: '' }, locale)
    for (const value of [12_345, 221_700_000, 3e9, 4e12])
      t.notMatch(language.compact(value), /[^a-zA-Z][dhms]$/, locale)
  }
  t.equal(new Language({ key: '' }, 'en-GB').compact(221_700_000), '221.7M')
  t.end()
})
