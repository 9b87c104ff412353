import { checkFields, Misuse, Platform, type PlatformAnswer, type PlatformRequest } from './platform.ts'

const PATH = '/api/webhooks/4200/tok-en_1'

/** Execute Webhook and Edit Webhook Message (https://docs.discord.com/developers/resources/webhook). */
export class StrictDiscord extends Platform {
  get url(): string {
    return `${this.origin}${PATH}`
  }

  limitedAnswer(seconds: number): PlatformAnswer {
    const body = { message: 'You are being rate limited.', retry_after: seconds, global: false }
    return { status: 429, body, headers: { 'retry-after': String(seconds) } }
  }

  revokedAnswer(): PlatformAnswer {
    return { status: 404, body: { message: 'Unknown Webhook', code: 10_015 } }
  }

  protected misuseAnswer(error: Misuse): PlatformAnswer {
    return { status: 400, body: { message: `Invalid Form Body: ${error.message}`, code: 50_035 } }
  }

  protected whatOf({ method }: PlatformRequest) {
    return method === 'PATCH' ? ('edit' as const) : ('post' as const)
  }

  #contentOf(body: Record<string, unknown>): string {
    checkFields(body, ['content', 'allowed_mentions', 'flags'])
    const { content, allowed_mentions, flags } = body as {
      content: string
      allowed_mentions: { parse: string[] }
      flags: number
    }
    if (content.length < 1 || content.length > 2_000) throw new Misuse('BASE_TYPE_BAD_LENGTH')
    if (JSON.stringify(allowed_mentions) !== '{"parse":[]}') throw new Misuse('somebody could be notified')
    if (flags !== 4) throw new Misuse('flags')
    return content
  }

  protected take({ method, url, body }: PlatformRequest) {
    if (method === 'POST' && url.pathname === PATH) {
      if (url.searchParams.get('wait') !== 'true') throw new Misuse('without wait there is no id')
      const id = `99${String(this.nextId++).padStart(16, '0')}`
      this.store(id, this.#contentOf(body))
      return { answer: { status: 200, body: { id, type: 0, content: body['content'] } }, message: id }
    }
    const id = url.pathname.startsWith(`${PATH}/messages/`) ? url.pathname.slice(`${PATH}/messages/`.length) : null
    if (method !== 'PATCH' || id === null) throw new Misuse(`${method} ${url.pathname}`)
    const message = this.messages.get(id)
    if (!message || message.isDeleted)
      return { answer: { status: 404, body: { message: 'Unknown Message', code: 10_008 } }, message: null }
    this.change(message, this.#contentOf(body))
    return { answer: { status: 200, body: { id, type: 0 } }, message: id }
  }
}
