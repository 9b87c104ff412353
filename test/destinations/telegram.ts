import { checkFields, Misuse, Platform, type PlatformAnswer, type PlatformRequest } from './platform.ts'

interface Entity {
  type: string
  offset: number
  length: number
  url?: string
}

const refusal = (error_code: number, description: string, parameters?: object): PlatformAnswer => ({
  status: error_code,
  body: { ok: false, error_code, description, ...(parameters && { parameters }) },
})

/** `sendMessage` and `editMessageText` (https://core.telegram.org/bots/api). */
export class StrictTelegram extends Platform {
  readonly token = '4200:AA-secret_x'
  readonly chatId = '-1004200'

  limitedAnswer(seconds: number): PlatformAnswer {
    return refusal(429, `Too Many Requests: retry after ${seconds}`, { retry_after: seconds })
  }

  revokedAnswer(): PlatformAnswer {
    return refusal(401, 'Unauthorized')
  }

  protected misuseAnswer(error: Misuse): PlatformAnswer {
    return refusal(400, `Bad Request: ${error.message}`)
  }

  protected whatOf({ url }: PlatformRequest) {
    return url.pathname.endsWith('/editMessageText') ? ('edit' as const) : ('post' as const)
  }

  /** Refuses a text outside of `code` in which Telegram would find a mention, a hashtag, a command or an address by itself. */
  #textOf(body: Record<string, unknown>): string {
    const { text, entities } = body as { text: string; entities: Entity[] }
    if (text.length < 1 || text.length > 4_096) throw new Misuse('message is too long')
    let open = text
    for (const { type, offset, length, url } of entities) {
      if (offset < 0 || length < 1 || offset + length > text.length) throw new Misuse('entity beyond the text')
      if (!['bold', 'code', 'text_link'].includes(type) || (type === 'text_link') !== (url !== undefined))
        throw new Misuse(`entity ${type}`)
      if (type === 'code') open = open.slice(0, offset) + ' '.repeat(length) + open.slice(offset + length)
    }
    if (/[@#]\w|(?:^|\s)\/\w|:\/\/|\w\.(?:com|org)/.test(open)) throw new Misuse(`something is found in ${open}`)
    return text
  }

  protected take({ method, url, body }: PlatformRequest) {
    const [, bot, name] = url.pathname.split('/')
    if (bot !== `bot${this.token}`) return { answer: refusal(401, 'Unauthorized'), message: null }
    if (method !== 'POST') throw new Misuse('method')
    const shared = ['chat_id', 'text', 'entities', 'link_preview_options']
    const chat = { id: Number(this.chatId), type: 'supergroup' }
    if (String(body['chat_id']) !== this.chatId)
      return { answer: refusal(400, 'Bad Request: chat not found'), message: null }
    if (name === 'sendMessage') {
      checkFields(body, shared)
      const message_id = this.nextId++
      this.store(String(message_id), this.#textOf(body))
      return {
        answer: { status: 200, body: { ok: true, result: { message_id, chat, date: 1 } } },
        message: String(message_id),
      }
    }
    if (name !== 'editMessageText') throw new Misuse(`method ${name ?? ''}`)
    checkFields(body, [...shared, 'message_id'])
    const message = this.messages.get(String(body['message_id']))
    if (!message || message.isDeleted)
      return { answer: refusal(400, 'Bad Request: message to edit not found'), message: null }
    const text = this.#textOf(body)
    if (text === message.text) {
      const same =
        'Bad Request: message is not modified: specified new message content and reply markup are exactly the same'
      return { answer: refusal(400, same), message: message.id }
    }
    this.change(message, text)
    const result = { message_id: Number(message.id), chat, date: 1, edit_date: 2 }
    return { answer: { status: 200, body: { ok: true, result } }, message: message.id }
  }
}
