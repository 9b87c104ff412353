import { checkFields, Misuse, Platform, type PlatformAnswer, type PlatformRequest } from './platform.ts'

interface Content {
  msgtype: string
  body: string
  format: string
  formatted_body: string
  'm.mentions': object
}

const CONTENT = ['msgtype', 'body', 'format', 'formatted_body', 'm.mentions']

/** Sending and reading events of a room (https://spec.matrix.org/latest/client-server-api). */
export class StrictMatrix extends Platform {
  readonly token = 'syt_secret'
  readonly roomId = '!room:example.org'
  readonly #transactions = new Map<string, string>()
  readonly #contents = new Map<string, Content>()

  limitedAnswer(seconds: number): PlatformAnswer {
    const body = { errcode: 'M_LIMIT_EXCEEDED', error: 'Too many requests', retry_after_ms: seconds * 1000 }
    return { status: 429, body }
  }

  revokedAnswer(): PlatformAnswer {
    return { status: 401, body: { errcode: 'M_UNKNOWN_TOKEN', error: 'Unrecognised access token', soft_logout: false } }
  }

  protected misuseAnswer(error: Misuse): PlatformAnswer {
    return { status: 400, body: { errcode: 'M_BAD_JSON', error: error.message } }
  }

  protected whatOf({ method, body }: PlatformRequest) {
    return method === 'GET' ? ('read' as const) : 'm.relates_to' in body ? ('edit' as const) : ('post' as const)
  }

  #check(content: Content): void {
    checkFields(content, CONTENT)
    if (content.msgtype !== 'm.notice' || content.format !== 'org.matrix.custom.html') throw new Misuse('M_BAD_JSON')
    if (JSON.stringify(content['m.mentions']) !== '{}') throw new Misuse('somebody could be notified')
    const tags = content.formatted_body.replaceAll(
      /<\/?strong>|<br\/>|<a href="https?:[^"<>]*">|<\/a>|&(?:amp|lt|gt|quot|#39);/g,
      '',
    )
    if (/[<>&"]/.test(tags)) throw new Misuse(`markup in ${content.formatted_body}`)
  }

  #read(eventId: string): { answer: PlatformAnswer; message: string | null } {
    const message = this.messages.get(eventId)
    if (!message)
      return { answer: { status: 404, body: { errcode: 'M_NOT_FOUND', error: 'Event not found.' } }, message: null }
    const event = { event_id: eventId, type: 'm.room.message', room_id: this.roomId, sender: '@bot:example.org' }
    const content = message.isDeleted ? {} : this.#contents.get(eventId)
    const unsigned = message.isDeleted ? { redacted_because: {} } : {}
    return { answer: { status: 200, body: { ...event, content, unsigned } }, message: eventId }
  }

  protected take({ method, url, headers, body }: PlatformRequest) {
    if (headers.authorization !== `Bearer ${this.token}`) return { answer: this.revokedAnswer(), message: null }
    const parts = url.pathname.split('/').map(decodeURIComponent)
    if (parts.slice(0, 5).join('/') !== '/_matrix/client/v3/rooms') throw new Misuse(`M_UNRECOGNIZED ${url.pathname}`)
    if (parts[5] !== this.roomId)
      return { answer: { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'Not in room' } }, message: null }
    if (method === 'GET' && parts[6] === 'event') return this.#read(parts[7] ?? '')
    const key = parts[8]
    if (method !== 'PUT' || parts[6] !== 'send' || parts[7] !== 'm.room.message' || !key)
      throw new Misuse('M_UNRECOGNIZED')

    const former = this.#transactions.get(key)
    if (former !== undefined) return { answer: { status: 200, body: { event_id: former } }, message: former }
    const eventId = `$event${this.nextId++}`
    const relation = body['m.relates_to'] as { rel_type: string; event_id: string } | undefined
    if (relation === undefined) {
      const content = body as unknown as Content
      this.#check(content)
      this.#contents.set(eventId, content)
      this.store(eventId, content.body)
    } else {
      checkFields(body, [...CONTENT, 'm.new_content', 'm.relates_to'])
      checkFields(relation, ['rel_type', 'event_id'])
      const content = body['m.new_content'] as Content
      this.#check(content)
      const message = this.messages.get(relation.event_id)
      if (relation.rel_type !== 'm.replace' || !message) throw new Misuse('an edit of nothing')
      // A server takes edits of deleted events, and no client shows them.
      if (message.isDeleted) throw new Misuse('an edit of a deleted event')
      this.change(message, content.body)
    }
    this.#transactions.set(key, eventId)
    return { answer: { status: 200, body: { event_id: eventId } }, message: relation?.event_id ?? eventId }
  }
}
