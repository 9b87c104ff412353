import { runService } from '../serve.ts'

/** A service that lives no longer than the demo that started it, however that ends. */
process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
await runService()
