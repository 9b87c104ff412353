interface Waiting<Served> {
  serve: (served: Served) => void
  refuse: (error: Error) => void
}

/** Callers that wait for something, in the order in which they came. Each is served, or refused, or leaves out of patience. */
export class Line<Served> {
  readonly #waiting = new Set<Waiting<Served>>()

  get length(): number {
    return this.#waiting.size
  }

  /** Resolves with what the caller is served. Raises what `late` answers, which is called after the caller has left the line. */
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

  /** Serves who came first. Nothing happens when nobody waits. */
  serveFirst(served: Served): void {
    const [first] = this.#waiting
    first?.serve(served)
  }

  refuseAll(error: Error): void {
    for (const waiting of [...this.#waiting]) waiting.refuse(error)
  }
}
