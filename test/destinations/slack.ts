import { checkFields, Misuse, Platform, type PlatformAnswer, type PlatformRequest } from './platform.ts'

interface Block {
  type: string
  text?: { type: string; text: string; emoji?: boolean }
  elements?: { type: string; text: string }[]
}

/** `chat.postMessage` and `chat.update` (https://docs.slack.dev/reference/methods/chat.postMessage). */
export class StrictSlack extends Platform {
  readonly token = 'xoxb-1-secret'
  readonly channel = 'C0123456789'

  limitedAnswer(seconds: number): PlatformAnswer {
    return { status: 429, body: { ok: false, error: 'ratelimited' }, headers: { 'retry-after': String(seconds) } }
  }

  revokedAnswer(): PlatformAnswer {
    return { status: 200, body: { ok: false, error: 'token_revoked' } }
  }

  protected misuseAnswer(error: Misuse): PlatformAnswer {
    return { status: 200, body: { ok: false, error: 'invalid_arguments', detail: error.message } }
  }

  protected whatOf({ url }: PlatformRequest) {
    return url.pathname === '/api/chat.update' ? ('edit' as const) : ('post' as const)
  }

  /** Refuses what Slack refuses, and whatever could be formatted. */
  #textOf(body: Record<string, unknown>): string {
    const { text, blocks, parse, link_names } = body as {
      text: string
      blocks: Block[]
      parse: string
      link_names: boolean
    }
    if (parse !== 'none' || link_names) throw new Misuse('the text is searched for names')
    if (/<(?!https?:)|[^;]&(?!amp;|lt;|gt;)/.test(text)) throw new Misuse(`control characters in ${text}`)
    if (!Array.isArray(blocks) || blocks.length > 50) throw new Misuse('invalid_blocks')
    return blocks
      .map(block => {
        if (block.type === 'section' && block.text?.type === 'plain_text') {
          checkFields(block, ['type', 'text'])
          checkFields(block.text, ['type', 'text'], ['emoji'])
          const { length } = block.text.text
          if (length < 1 || length > 3_000 || block.text.emoji) throw new Misuse('invalid_blocks')
          return block.text.text
        }
        if (block.type === 'context') return (block.elements ?? []).map(each => each.text).join(' ')
        throw new Misuse('invalid_blocks')
      })
      .join('\n')
  }

  protected take({ url, headers, body }: PlatformRequest) {
    if (headers.authorization !== `Bearer ${this.token}`)
      return { answer: { status: 200, body: { ok: false, error: 'invalid_auth' } }, message: null }
    if (!headers['content-type']?.startsWith('application/json')) throw new Misuse('invalid_post_type')
    const shared = ['channel', 'text', 'blocks', 'parse', 'link_names']
    if (url.pathname === '/api/chat.postMessage') {
      checkFields(body, shared, ['unfurl_links', 'unfurl_media'])
      if (body['channel'] !== this.channel)
        return { answer: { status: 200, body: { ok: false, error: 'channel_not_found' } }, message: null }
      const ts = `1700000000.${String(this.nextId++).padStart(6, '0')}`
      this.store(ts, this.#textOf(body))
      return { answer: { status: 200, body: { ok: true, channel: this.channel, ts } }, message: ts }
    }
    if (url.pathname !== '/api/chat.update') throw new Misuse(`unknown_method ${url.pathname}`)
    checkFields(body, [...shared, 'ts'])
    const ts = String(body['ts'])
    const message = this.messages.get(ts)
    if (!message || message.isDeleted || body['channel'] !== this.channel)
      return { answer: { status: 200, body: { ok: false, error: 'message_not_found' } }, message: null }
    this.change(message, this.#textOf(body))
    return { answer: { status: 200, body: { ok: true, channel: this.channel, ts, text: '' } }, message: ts }
  }
}
