/** Whether `query` succeeds in time. It goes on either way; who asked need not wait for it. */
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
