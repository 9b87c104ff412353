// How each platform is told a message, drawn from exactly what it is sent. The drawing is our own, and reads no more of a platform's
// language than the messages use.
import type { MessageLanguage } from '../../src/contract/destinations.ts'
import { messageOf, type ChatMessage, type MessageJob } from '../../src/webhooks/message/message.ts'
import {
  discordMessage,
  escapeHtml,
  mailContent,
  matrixContent,
  slackMessage,
  teamsMessage,
  telegramMessage,
} from '../../src/webhooks/message/render.ts'

const paragraphs = (text: string): string => escapeHtml(text).replaceAll('\n', '<br>')

/** Blocks of `plain_text`, and the link in the context. */
const slack = (message: ChatMessage): string =>
  slackMessage(message)
    .blocks.map(block =>
      'text' in block
        ? `<p>${paragraphs(block.text.text)}</p>`
        : `<p class="small">${block.elements
            .map(({ text }) => `<a href="#">${escapeHtml(text.replace(/^<[^|]*\|(.*)>$/, '$1'))}</a>`)
            .join('')}</p>`,
    )
    .join('')

/** Bold, a link, and backslashes before signs that mean themselves. */
const discord = (message: ChatMessage): string =>
  discordMessage(message)
    .content.split('\n')
    .map(line => {
      const isBold = /^\*\*.*\*\*$/.test(line)
      const label = /^\[(.*)\]\(<.*>\)$/.exec(line)?.[1]
      const text = escapeHtml((label ?? (isBold ? line.slice(2, -2) : line)).replaceAll(/\\(.)/g, '$1'))
      return label === undefined ? (isBold ? `<b>${text}</b>` : text) : `<a href="#">${text}</a>`
    })
    .join('<br>')

const telegram = (message: ChatMessage): string => {
  const { text, entities } = telegramMessage(message)
  const tags = { bold: ['<b>', '</b>'], code: ['<code>', '</code>'], text_link: ['<a href="#">', '</a>'] } as const
  let at = 0
  let drawn = ''
  for (const { type, offset, length } of entities) {
    const [open, close] = tags[type]
    drawn += `${paragraphs(text.slice(at, offset))}${open}${paragraphs(text.slice(offset, offset + length))}${close}`
    at = offset + length
  }
  return drawn + paragraphs(text.slice(at))
}

const teams = (message: ChatMessage): string =>
  teamsMessage(message)
    .attachments.map(({ content }) => {
      const lines = content.body.map(({ inlines }) => inlines.map(run => paragraphs(run.text)).join(''))
      const [head = '', ...rest] = lines
      const actions = (content.actions ?? []).map(({ title }) => `<button>${escapeHtml(title)}</button>`)
      return `<p><b>${head}</b></p><p>${rest.join('<br>')}</p>${actions.join('')}`
    })
    .join('')

const mail = (message: ChatMessage): string => {
  const { subject, html } = mailContent(message)
  return `<p class="small">${escapeHtml(subject)}</p>${html}`
}

const PLATFORMS: readonly [name: string, draw: (message: ChatMessage) => string][] = [
  ['Slack', slack],
  ['Discord', discord],
  ['Telegram', telegram],
  ['Matrix', message => matrixContent(message).formatted_body],
  ['Teams', teams],
  ['Mail', mail],
]

const STYLE = `
  body { margin: 0; padding: 24px; background: #f4f6f8; color: #14171f; font: 14px/1.5 'DejaVu Sans', sans-serif }
  main { display: grid; grid-template-columns: repeat(3, 1fr); gap: 16px }
  h2 { font-size: 13px; margin: 0 0 8px; color: #4a5260 }
  article { background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; padding: 12px 16px; margin-bottom: 12px; overflow-wrap: anywhere }
  p { margin: 0 0 6px } .small { font-size: 12px; color: #4a5260 } a { color: #2f4bd8 }
  code { font-family: 'DejaVu Sans Mono', monospace; font-size: 13px; background: #eef0f3 }`

/** A page with the messages about jobs, of each platform. */
export const messagePage = (jobs: readonly MessageJob[], language: MessageLanguage, nowMs: number): string => {
  const messages = jobs.map(job => messageOf(job, { language, publicUrl: 'https://jobs.example.com', nowMs }))
  const sections = PLATFORMS.map(
    ([name, draw]) =>
      `<section><h2>${name}</h2>${messages.map(message => `<article>${draw(message)}</article>`).join('')}</section>`,
  )
  return `<!doctype html><meta charset="utf-8"><title>Messages</title><style>${STYLE}</style><main>${sections.join('')}</main>`
}
