// A process that takes its Node for one that is too old.
Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })
