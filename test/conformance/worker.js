// A worker with the client for Node, for run.js: it attaches to the job of the suite, and works as long as it is asked to.
import { setTimeout as delay } from 'node:timers/promises'
import { createWorker } from '../../packages/worker/dist/index.mjs'

const STEPS = 100
const seconds = Number(process.env.HEADWAY_CONFORMANCE_SECONDS)
const job = await createWorker().attach(process.env.HEADWAY_JOB_ID)
try {
  for (let step = 0; step < STEPS; step += 1) {
    await delay((seconds * 1000) / STEPS)
    job.signal.throwIfAborted()
    job.advance()
  }
  await job.complete()
} catch (error) {
  await job.fail(error)
  process.exitCode = 1
}
