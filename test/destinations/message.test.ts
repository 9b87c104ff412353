import t from 'tap'
import { MESSAGE_LANGUAGES } from '../../src/contract/destinations.ts'
import { messageOf, plain, type MessageJob } from '../../src/webhooks/message/message.ts'
import {
  discordMessage,
  mailContent,
  matrixContent,
  plainText,
  slackMessage,
  summaryOf,
  teamsMessage,
  telegramMessage,
} from '../../src/webhooks/message/render.ts'
import { barText, shortText } from '../../src/webhooks/message/text.ts'

const NOW = Date.parse('2026-01-31T12:00:00.000Z')

const jobOf = (over: Partial<MessageJob> = {}): MessageJob => ({
  id: '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55',
  name: 'Nightly import',
  status: 'running',
  progressPercent: 42,
  processedCount: 504,
  totalCount: 1_200,
  unit: 'rows',
  attempt: 1,
  updatedAt: '2026-01-31T12:00:00.000Z',
  revision: 7,
  ...over,
})

const say = (over: Partial<MessageJob> = {}, language: 'en' | 'de' | 'fr' = 'en') =>
  messageOf(jobOf(over), { language, publicUrl: 'https://jobs.example.com', nowMs: NOW })

const linesOf = (over: Partial<MessageJob> = {}, language: 'en' | 'de' | 'fr' = 'en') =>
  say(over, language).lines.map(plain)

t.test('a message says name, bar, percent, counts, time left as a range, stage, and who started it', t => {
  const lines = linesOf({
    etaSeconds: 720,
    etaLowSeconds: 540,
    etaHighSeconds: 1_080,
    stage: 'Reading',
    message: 'Row 504',
    startedByUserId: 'auth0|7',
  })
  t.same(lines, [
    'Running',
    '▓▓▓▓▓░░░░░░░ 42% · 504 of 1,200 rows',
    'about 12 min (9 to 18) left',
    'Stage: Reading',
    'Row 504',
    'Started by auth0|7',
  ])
  t.equal(summaryOf(say()), '🔄 Nightly import: Running')
  t.match(plainText(say()), /https:\/\/jobs\.example\.com\/jobs\/0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55$/)
  t.end()
})

t.test('a message says what is unusual, late, silent, or wrong', t => {
  t.match(linesOf({ unusual: true, usualSeconds: 720 })[0], 'Running · Longer than usual (usually 12 min)')
  t.match(linesOf({ deadline: 'at_risk' })[0], 'At risk of being late')
  t.match(linesOf({ deadline: 'overdue' })[0], 'Overdue')
  t.match(linesOf({ liveness: 'stalled' })[0], 'Stalled')
  t.match(linesOf({ cancelRequestedAt: '2026-01-31T12:00:00.000Z' })[0], 'Cancelling')
  const times = { startedAt: '2026-01-31T11:00:00.000Z', finishedAt: '2026-01-31T11:03:05.000Z' }
  const failed = linesOf({ status: 'failed', errorMessage: 'Row 812:\nthe price is missing', ...times, attempt: 2 })
  t.equal(failed[0], 'Failed after 3 min 5 s · Attempt 2')
  t.ok(failed.includes('Error: Row 812: the price is missing'))
  t.ok(linesOf({ status: 'failed', failureReason: 'stale' }).includes('Error: Its workers were silent'))
  t.match(linesOf({ status: 'completed', deadline: 'overdue', ...times })[0], 'Completed after 3 min 5 s · Late')
  t.end()
})

t.test('a message says of a batch how its partitions do', t => {
  const children = {
    total: 8, pending: 0, running: 5, stalled: 1, completed: 2, failed: 1, cancelled: 0,
    current: ['Berlin', 'Paris', 'Rome', 'Oslo'], errors: [], failures: [],
  } // prettier-ignore
  const lines = linesOf({ children, liveness: 'stalled', unit: 'unknown' })
  t.ok(lines.includes('2 of 8 parts completed, 1 failed, 1 stalled'), lines.join('\n'))
  t.ok(lines.includes('Now: Berlin, Paris, Rome and 2 more'), lines.join('\n'))
  t.end()
})

t.test('a job of which little is known has a message without what is not known', t => {
  const little = { totalCount: null, processedCount: 0, progressPercent: 0, unit: 'unknown' as const }
  t.same(linesOf(little), ['Running'])
  t.same(linesOf({ ...little, processedCount: 7 }), ['Running', '7'])
  t.same(linesOf({ ...little, status: 'pending' }), ['Pending'])
  t.same(linesOf({ ...little, name: '\u202e\u200b', message: '\u0007', stage: ' ' }), ['Running'])
  t.equal(linesOf({ etaSeconds: 30, updatedAt: 'no date' })[2], '30 s left')
  t.equal(linesOf({ etaSeconds: 30, updatedAt: '2026-01-31T13:00:00.000Z' })[2], '30 s left', 'a clock that is ahead')
  t.equal(messageOf(jobOf(), { language: 'en', publicUrl: null, nowMs: NOW }).link, null)
  t.end()
})

t.test('messages exist in every language', t => {
  const seen = MESSAGE_LANGUAGES.map(language =>
    linesOf({ etaSeconds: 600, stage: 'x', startedByUserId: 'y' }, language),
  )
  t.equal(new Set(seen.map(lines => lines.join('\n'))).size, MESSAGE_LANGUAGES.length)
  t.match(seen[1]?.join('\n'), /^Läuft\n.*42\s%.*\nnoch 10\smin/)
  t.match(seen[2]?.join('\n'), /^En cours\n.*42\s%.*\nencore 10\smin/)
  t.end()
})

const ATTACKS = [
  '<!channel> <!here|x> <@U1> <https://evil.example|click>', '@everyone @here <@1> <@&2> <#3> </a:4>', '*_[x](javascript:alert(1))_*',
  '</b><script>alert(1)</script>&amp;', '`code` ```block``` ~~s~~ ||spoiler|| > quote', '# head\n- list\n1. one', 'https://evil.example/x',
  ':smile: <:a:1> <t:1:R>', '{{DATE(2026-01-01,SHORT)}} ${x}', '\u202eevil\u202c \u200f\u200e\u2067x\u2069', 'a\u0000b\u0007c\u001b[31m\r\nd',
  '@room @channel #tag /start www.evil.com', '"><img src=x onerror=y>', "' onclick='x", '\\*\\_', 'مرحبا שלום', '👩‍👩‍👧‍👦'.repeat(80),
  'x'.repeat(100_000), 'é\u0301'.repeat(5_000), `a${'\u0301'.repeat(20_000)}`, '*'.repeat(3_000), '\ud83d',
] // prettier-ignore

/** A job all of whose texts are an attack. */
const attacked = (text: string, status: 'running' | 'failed' = 'running') =>
  say({
    name: text, unit: text, stage: text, message: text, startedByUserId: text, errorMessage: text, status,
    children: { total: 9, pending: 0, running: 5, stalled: 0, completed: 1, failed: 3, cancelled: 0, current: [text, text, text], errors: [text], failures: [] },
  }) // prettier-ignore

t.test('no text of a job formats, links or mentions anything on any platform', t => {
  for (const text of ATTACKS) {
    for (const message of [attacked(text), attacked(text, 'failed')]) {
      const all = plainText(message)
      t.notMatch(
        all.replaceAll('\n', ''),
        /[\p{Cc}\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069]/u,
        'no control characters',
      )
      t.ok(all.isWellFormed())

      const slack = slackMessage(message)
      for (const block of slack.blocks.slice(0, 2)) t.match(block, { text: { type: 'plain_text', emoji: false } })
      t.notMatch(slack.text, /[<>]/)
      t.equal(JSON.stringify(slack.blocks[2]).match(/</g)?.length, 1, 'only its own link')
      for (const { text } of slack.blocks) t.ok((text?.text.length ?? 1) >= 1 && (text?.text.length ?? 1) <= 3_000)

      const { content, allowed_mentions } = discordMessage(message)
      t.same(allowed_mentions, { parse: [] })
      t.ok(content.length <= 2_000, `${content.length}`)
      const foreign = content.replace(/\n\[[^\n]*\]\(<https:\/\/jobs[^\n]*$/, '').replaceAll('**', '')
      t.notMatch(foreign.replaceAll(/\\[!-/:-@[-`{-~]/g, ''), /[*_~`|<>@#:[\]()]/, 'every sign is escaped')

      const telegram = telegramMessage(message)
      t.ok(telegram.text.length <= 4_096)
      const codes = telegram.entities.filter(({ type }) => type === 'code')
      for (const { offset, length } of telegram.entities) t.ok(offset + length <= telegram.text.length && length > 0)
      const open = codes.reduce(
        (rest, { offset, length }) => rest.slice(0, offset) + ' '.repeat(length) + rest.slice(offset + length),
        telegram.text,
      )
      t.notMatch(open, /[@#/]|evil|www/, 'all that is foreign is code')

      const html = [matrixContent(message).formatted_body, mailContent(message).html]
      for (const markup of html) {
        const tags = markup.match(/<[^>]*>/g) ?? []
        t.ok(
          tags.every(tag =>
            /^<(?:\/?(?:strong|div|a)|br\/?|a href="https:\/\/jobs\.example\.com\/jobs\/[\da-f-]+")>$/.test(tag),
          ),
          markup,
        )
      }
      t.same(matrixContent(message)['m.mentions'], {})
      t.notMatch(mailContent(message).subject, /[\r\n]/)

      const card = JSON.stringify(teamsMessage(message))
      t.notMatch(card, /"TextBlock"|\{\{(?:DATE|TIME)/)
      t.ok(Buffer.byteLength(card) < 28_000, 'Teams takes 28 KB')
    }
  }
  t.end()
})

t.test('a long text is cut between characters as people see them', t => {
  t.equal(shortText('👩‍👩‍👧‍👦👩‍👩‍👧‍👦', 15), '👩‍👩‍👧‍👦…')
  t.equal(shortText('short', 5), 'short')
  t.equal(shortText('longer', 5), 'long…')
  t.ok(shortText(`a${'\u0301'.repeat(500)}`, 20).length <= 20)
  t.equal(shortText('', 5), '')
  t.end()
})

t.test('bars are full at 100 only', t => {
  t.same([0, 1, 50, 99, 100, 101, -1].map(barText), [
    '░'.repeat(12), '░'.repeat(12), '▓▓▓▓▓▓░░░░░░', '▓▓▓▓▓▓▓▓▓▓▓░', '▓'.repeat(12), '▓'.repeat(12), '░'.repeat(12),
  ]) // prettier-ignore
  t.end()
})
