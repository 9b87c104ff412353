/** One event of a stream. `id` is where a reader that has the event can resume. */
export interface StreamEvent {
  event: string
  id: string
  data: string
}

/**
 * Parses server-sent events from text that arrives in chunks of any length.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */
export class EventParser {
  /**
   * The beginning of an unfinished line, in chunks. They are joined when the line ends; otherwise a long line would be copied
   * with each chunk.
   */
  #rest: string[] = []
  #sawCarriageReturn = false
  #event = ''
  #id = ''
  #data: string[] = []
  #retryMs: number | null = null

  /** The events that end in this chunk. */
  push(text: string): StreamEvent[] {
    const events: StreamEvent[] = []
    // A line feed that belongs to the carriage return at the end of the last chunk.
    let start = this.#sawCarriageReturn && text.startsWith('\n') ? 1 : 0
    if (text !== '') this.#sawCarriageReturn = text.endsWith('\r')
    const end = /\r\n|\r|\n/g
    end.lastIndex = start
    for (let match = end.exec(text); match; match = end.exec(text)) {
      this.#rest.push(text.slice(start, match.index))
      start = end.lastIndex
      const line = this.#rest.length === 1 ? (this.#rest[0] ?? '') : this.#rest.join('')
      this.#rest = []
      if (line !== '') this.#field(line)
      else if (this.#data.length > 0) events.push(this.#take())
      else this.#event = ''
    }
    if (start < text.length) this.#rest.push(text.slice(start))
    return events
  }

  /** The last `retry:` since the previous call, in milliseconds. */
  takeRetry(): number | null {
    const retryMs = this.#retryMs
    this.#retryMs = null
    return retryMs
  }

  #field(line: string): void {
    const colon = line.indexOf(':')
    if (colon === 0) return
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (name === 'data') this.#data.push(value)
    else if (name === 'event') this.#event = value
    else if (name === 'id' && !value.includes('\0')) this.#id = value
    else if (name === 'retry' && /^\d{1,9}$/.test(value)) this.#retryMs = Number(value)
  }

  #take(): StreamEvent {
    const event = { event: this.#event === '' ? 'message' : this.#event, id: this.#id, data: this.#data.join('\n') }
    this.#event = ''
    this.#data = []
    return event
  }
}
