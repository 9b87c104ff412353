// What `track` costs an item: a loop over a list, tracked and not, in turns, with a service that answers on the same machine.
// `npm run bench:track`. The limit is a microsecond an item more than `for await` over the same list takes.
import { createServer } from 'node:http'
import { createWorker } from '../../../dist/worker/headway.js'

const ITEMS = 2_000_000
const ROUNDS = 5
const LIMIT_NS = 1_000

const server = createServer((request, response) => {
  request.resume()
  const answer = request.url.endsWith('/heartbeat')
    ? { durable: true, heartbeatIntervalMs: 5_000 }
    : { id: 'a', attempt: 1 }
  response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const headway = createWorker({ url: `http://127.0.0.1:${server.address().port}`, token: '' })

const items = Array.from({ length: ITEMS }, (_, index) => index)
let sum = 0

/** Nanoseconds of processor time an item, so that other work on the machine does not count. */
const measure = async loop => {
  const before = process.cpuUsage()
  await loop()
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1_000) / ITEMS
}
const loops = {
  for: async () => {
    for (const item of items) sum += item
  },
  'for await': async () => {
    for await (const item of items) sum += item
  },
  track: async () => {
    for await (const item of headway.track(items, { name: 'bench' })) sum += item
  },
}

const results = Object.fromEntries(Object.keys(loops).map(name => [name, []]))
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, loop] of Object.entries(loops)) results[name].push(await measure(loop))
}
server.close()
if (sum === 0) throw new Error('The loops were not run: nothing was measured.')
const median = values => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
for (const [name, values] of Object.entries(results))
  console.log(`${name.padEnd(10)} ${median(values).toFixed(0).padStart(5)} ns an item`)
const added = median(results.track) - median(results['for await'])
console.log(
  `track adds ${added.toFixed(0)} ns to for await, ${median(results.track).toFixed(0)} ns in all (limit ${LIMIT_NS})`,
)
process.exit(median(results.track) < LIMIT_NS ? 0 : 1)
