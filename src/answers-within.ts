/** Whether `query` succeeds within `ms` milliseconds. The query goes on after that, but the caller no longer waits for it. */
export const answersWithin = (ms: number, query: Promise<unknown>): Promise<boolean> =>
  new Promise(resolve => {
    const timer = setTimeout(resolve, ms, false)
    query
      .then(
        () => resolve(true),
        () => resolve(false),
      )
      .finally(() => clearTimeout(timer))
  })
