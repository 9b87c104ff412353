// Fastify that validates and does nothing: what HTTP alone costs.
import { serveCalls } from '../environment/processes.js'
import { serveHeartbeats } from './http.js'

const origin = await serveHeartbeats((id, { processedCount = 0 }) => ({
  jobId: id,
  status: 'running',
  progressPercent: 0,
  processedCount,
}))

serveCalls({ ready: () => ({ origin }) })
