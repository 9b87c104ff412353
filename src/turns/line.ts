interface Waiting<Served> {
  serve: (served: Served) => void
  refuse: (error: Error) => void
}

/** Callers that wait, in the order in which they came. Each is served, is refused, or leaves when its patience has run out. */
export class Line<Served> {
  readonly #waiting = new Set<Waiting<Served>>()

  get length(): number {
    return this.#waiting.size
  }

  /** Resolves when the caller is served. Raises the error from `late`, which is called after the caller has left the line. */
  wait(patienceMs: number, late: () => Error): Promise<Served> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        this.#waiting.delete(waiting)
      }
      const waiting: Waiting<Served> = {
        serve: served => {
          leave()
          resolve(served)
        },
        refuse: error => {
          leave()
          reject(error)
        },
      }
      const timer = setTimeout(() => {
        leave()
        reject(late())
      }, patienceMs)
      this.#waiting.add(waiting)
    })
  }

  /** Serves the first caller in the line. Does nothing if no caller waits. */
  serveFirst(served: Served): void {
    const [first] = this.#waiting
    first?.serve(served)
  }

  refuseAll(error: Error): void {
    for (const waiting of [...this.#waiting]) waiting.refuse(error)
  }
}
