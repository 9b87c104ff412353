// The entry of the process: `node dist/main.js`.
import { runService } from './serve.ts'

await runService()
