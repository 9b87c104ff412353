// Fastify that validates and does nothing: what HTTP alone costs. The answer is as long as the service's.
import { serveCalls } from '../environment/processes.js'
import { serveHeartbeats } from './http.js'

const origin = await serveHeartbeats((jobId, { workerId = 'default' }) => ({
  jobId,
  workerId,
  status: 'running',
  cancelRequested: false,
  progressPercent: 0,
  revision: 1,
  applied: true,
  heartbeatIntervalMs: 5000,
  durable: true,
}))

serveCalls({ ready: () => ({ origin }) })
