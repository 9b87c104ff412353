// A process with many jobs, for run.js.
import { setInterval, setTimeout } from 'node:timers'
import { createWorker } from '../../../dist/worker/headway.js'

const [url, count, mode] = process.argv.slice(2)
const options = { url, token: '', watchDeath: false, onProblem: problem => console.error(problem.message) }
const shared = createWorker(options)
const clientOf = () => (mode === 'apart' ? createWorker(options) : shared)
const jobs = []
for (let n = 0; n < Number(count); n += 100) {
  const some = Array.from({ length: 100 }, (_, index) => clientOf().start({ name: `job ${n + index}` }))
  jobs.push(...(await Promise.all(some)))
}
setInterval(() => {
  for (const job of jobs) job.advance()
}, 50)
await new Promise(resolve => setTimeout(resolve, 2_000))
process.send('ready')
process.once('message', seconds => {
  const before = process.cpuUsage()
  setTimeout(() => {
    const { user, system } = process.cpuUsage(before)
    process.send((user + system) / 1_000)
  }, seconds * 1_000)
})
