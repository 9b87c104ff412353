import { headOf, plain, type ChatMessage, type Line } from './message.ts'

// How each platform is told a message. Nothing of a job's texts is formatted, becomes a link, or mentions anybody.

const HTML: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

export const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, sign => HTML[sign] ?? sign)

/** The message as plain text, with the address of the page. */
export const plainText = (message: ChatMessage): string =>
  [headOf(message), ...message.lines].map(plain).join('\n') + (message.link ? `\n${message.link.url}` : '')

/** The head in one line, for notifications: `✅ Nightly import: Completed`. */
export const summaryOf = (message: ChatMessage): string =>
  `${plain(headOf(message))}${message.state === '' ? '' : `: ${message.state}`}`

/** Slack knows three control characters (https://docs.slack.dev/messaging/formatting-message-text). */
const escapeSlack = (text: string): string => text.replaceAll(/[&<>]/g, sign => HTML[sign] ?? sign)

const slackText = (text: string) => ({ type: 'plain_text', text, emoji: false })

/**
 * Blocks of `plain_text`, in which Slack formats nothing. With `emoji: false` it also leaves `:smile:` alone. The text beside the
 * blocks is what notifications show: `parse: 'none'` and `link_names: false` keep Slack from looking for names and channels in it
 * (`chat.update` does so by default).
 */
export const slackMessage = (message: ChatMessage) => ({
  text: escapeSlack(summaryOf(message)),
  blocks: [
    { type: 'section', text: slackText(plain(headOf(message))) },
    { type: 'section', text: slackText(message.lines.map(plain).join('\n')) },
    ...(message.link
      ? [
          {
            type: 'context',
            elements: [
              {
                type: 'mrkdwn',
                text: `<${encodeURI(message.link.url).replaceAll('|', '%7C')}|${escapeSlack(message.link.label)}>`,
              },
            ],
          },
        ]
      : []),
  ],
  parse: 'none',
  link_names: false,
})

const MOST_DISCORD = 2_000
/** Message flag SUPPRESS_EMBEDS: no previews of links. */
const SUPPRESS_EMBEDS = 1 << 2

/** A backslash takes the meaning from every ASCII sign that has one in Discord's Markdown, mentions and emojis included. */
const escapeDiscord = (text: string): string => text.replaceAll(/[!-/:-@[-`{-~]/g, String.raw`\$&`)

/** `allowed_mentions` without any keeps Discord from notifying, whatever the text has. */
export const discordMessage = (message: ChatMessage) => {
  const link = message.link ? [`[${escapeDiscord(message.link.label)}](<${message.link.url}>)`] : []
  const lines = message.lines.map(line => escapeDiscord(plain(line)))
  const head = `**${escapeDiscord(plain(headOf(message)))}**`
  const text = () => [head, ...lines, ...link].join('\n')
  while (text().length > MOST_DISCORD && lines.length > 1) lines.pop()
  return { content: text(), allowed_mentions: { parse: [] }, flags: SUPPRESS_EMBEDS }
}

interface TelegramEntity {
  type: 'bold' | 'code' | 'text_link'
  offset: number
  length: number
  url?: string
}

/**
 * Text with entities in place of a markup language. Telegram itself looks for mentions, hashtags, commands and addresses in a
 * text, but not within `code`, so all foreign spans are `code`. Offsets are in UTF-16 code units.
 */
export const telegramMessage = (message: ChatMessage) => {
  let text = ''
  const entities: TelegramEntity[] = []
  const add = (line: Line, isBold: boolean): void => {
    if (text !== '') text += '\n'
    for (const span of line) {
      const entity = { offset: text.length, length: span.text.length }
      if (span.isForeign && span.text !== '') entities.push({ type: 'code', ...entity })
      else if (isBold && span.text.trim() !== '') entities.push({ type: 'bold', ...entity })
      text += span.text
    }
  }
  add(headOf(message), true)
  for (const line of message.lines) add(line, false)
  if (message.link) {
    const { label, url } = message.link
    text += '\n'
    entities.push({ type: 'text_link', offset: text.length, length: label.length, url })
    text += label
  }
  return { text, entities, link_preview_options: { is_disabled: true } }
}

const htmlOf = (line: Line): string => escapeHtml(plain(line))

/** The message as HTML without any attribute but the address of the page. */
const html = (message: ChatMessage, tag: string): string =>
  [
    `<strong>${htmlOf(headOf(message))}</strong>`,
    ...message.lines.map(htmlOf),
    ...(message.link ? [`<a href="${escapeHtml(message.link.url)}">${escapeHtml(message.link.label)}</a>`] : []),
  ].join(tag)

/** `m.mentions` without any entry: nobody is notified for what the text has (Matrix 1.7, section 11.37). */
export const matrixContent = (message: ChatMessage) => ({
  msgtype: 'm.notice',
  body: plainText(message),
  format: 'org.matrix.custom.html',
  formatted_body: html(message, '<br/>'),
  'm.mentions': {},
})

/** Adaptive cards replace `{{DATE(…)}}` in any text. A joiner without width between the braces prevents that. */
const cardText = (text: string): string => text.replaceAll('{{', '{\u2060{')

/** A card of text runs, in which nothing is formatted; a `TextBlock` would read Markdown. */
export const teamsMessage = (message: ChatMessage) => ({
  type: 'message',
  attachments: [
    {
      contentType: 'application/vnd.microsoft.card.adaptive',
      contentUrl: null,
      content: {
        $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
        type: 'AdaptiveCard',
        version: '1.4',
        body: [headOf(message), ...message.lines].map((line, index) => ({
          type: 'RichTextBlock',
          inlines: [
            { type: 'TextRun', text: cardText(plain(line)), ...(index === 0 && { weight: 'bolder', size: 'medium' }) },
          ],
          ...(index > 0 && { spacing: 'small' }),
        })),
        ...(message.link && {
          actions: [{ type: 'Action.OpenUrl', title: message.link.label, url: message.link.url }],
        }),
      },
    },
  ],
})

/** The subject, and both forms of the text. */
export const mailContent = (message: ChatMessage) => ({
  subject: summaryOf(message),
  text: plainText(message),
  html: `<div>${html(message, '<br>\n')}</div>`,
})
