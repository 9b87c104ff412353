import { createHash } from 'node:crypto'
import { damaged, END_OF_ROWS } from './format.ts'

/** Longer than any document of a dump. A file without line breaks is no dump and must not be read into memory. */
const MAX_DOCUMENT_BYTES = 64 * 1024

const LINE_BREAK = 10
const END_AFTER_ROW = Buffer.from(`\n${END_OF_ROWS}`)

/** Reads a dump piece by piece. It keeps no more than one piece of the file in memory. */
export class DumpReader {
  readonly #pieces: AsyncIterator<Buffer>
  readonly #hash = createHash('sha256')
  #rest: Buffer = Buffer.alloc(0)

  constructor(pieces: AsyncIterable<Buffer>) {
    this.#pieces = pieces[Symbol.asyncIterator]()
  }

  /** Answers false at the end of the file. */
  async #more(): Promise<boolean> {
    const next = await this.#pieces.next()
    if (next.done) return false
    this.#rest = this.#rest.length === 0 ? next.value : Buffer.concat([this.#rest, next.value])
    return true
  }

  #take(bytes: number): Buffer {
    const taken = this.#rest.subarray(0, bytes)
    this.#rest = this.#rest.subarray(bytes)
    return taken
  }

  /** The next line without its end. It does not count for the checksum until `count` is called with it. */
  async readLine(): Promise<string> {
    let end: number
    while ((end = this.#rest.indexOf(LINE_BREAK)) === -1) {
      if (this.#rest.length > MAX_DOCUMENT_BYTES || !(await this.#more())) throw damaged('a line has no end')
    }
    return this.#take(end + 1).toString('utf8', 0, end)
  }

  count(line: string): void {
    this.#hash.update(`${line}\n`)
  }

  /** The rows of a table, up to the line that ends them. */
  async *readRows(): AsyncGenerator<Buffer> {
    while (this.#rest.length < END_OF_ROWS.length) await this.#moreRows()
    if (this.#rest.toString('latin1', 0, END_OF_ROWS.length) === END_OF_ROWS) {
      this.#hash.update(this.#take(END_OF_ROWS.length))
      return
    }
    for (;;) {
      const end = this.#rest.indexOf(END_AFTER_ROW)
      if (end !== -1) {
        const rows = this.#take(end + 1)
        this.#hash.update(rows)
        yield rows
        this.#hash.update(this.#take(END_OF_ROWS.length))
        return
      }
      // The end of this piece may be the beginning of what ends the rows.
      const rows = this.#take(Math.max(0, this.#rest.length - END_AFTER_ROW.length + 1))
      if (rows.length > 0) {
        this.#hash.update(rows)
        yield rows
      }
      await this.#moreRows()
    }
  }

  async #moreRows(): Promise<void> {
    if (!(await this.#more())) throw damaged('the rows of a table do not end')
  }

  /** Raises `validation_failed` if anything follows. */
  async expectEnd(): Promise<void> {
    if (this.#rest.length > 0 || (await this.#more())) throw damaged('something follows its end')
  }

  /** The checksum of what has been counted. Call it once. */
  digest(): string {
    return this.#hash.digest('hex')
  }
}
