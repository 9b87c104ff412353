// The entry of the process: `node dist/main.js`.
import './node-version.ts'

// Not loaded by a Node that is too old for it.
const { runService } = await import('./serve.ts')
await runService()
