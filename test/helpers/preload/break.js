// For `node --import`: with SIGUSR2 this process has a bug.
process.on('SIGUSR2', () => {
  throw new Error('a bug that nobody caught')
})
