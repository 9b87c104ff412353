import { runService } from '../serve.ts'

/** Ends this service when the demo that started it has ended in any way. */
process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
await runService()
