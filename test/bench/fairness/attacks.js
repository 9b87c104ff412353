// What two hostile tokens of one tenant can do. Their number of connections is bounded, and said: they share the machine with all
// that is measured.
import { randomUUID } from 'node:crypto'

const pick = values => values[Math.floor(Math.random() * values.length)]
const SORTS = ['createdAt', '-createdAt', 'finishedAt', '-startedAt', 'priority']
const bulk = heartbeats => JSON.stringify({ heartbeats })

/** A body of 8 MB, but for a few bytes. */
const ALMOST_8_MB = 8 * 1024 * 1024 - 64
const PARTITIONS = 1_000

/** What makes streams busy: all running jobs go on, as fast as they can be reported. */
const REPORTS = {
  token: 'update',
  connections: 2,
  next: ({ running, turn }) => ({
    method: 'POST',
    path: '/heartbeats',
    body: bulk(running.map(jobId => ({ jobId, processedCount: turn + 2 }))),
  }),
}

/**
 * Each has loops, of which each has `connections` that call one after the other; `token` is the one that calls. `held` and
 * `unfinished` are connections that stay open.
 */
export const ATTACKS = [
  {
    name: 'deep-pages',
    description: '20 connections turn pages far down, by every order',
    loops: [
      {
        token: 'view',
        connections: 20,
        next: ({ jobs }) => ({
          method: 'GET',
          path: `/jobs?includeCompleted=true&pageSize=100&sort=${pick(SORTS)}&page=${Math.floor((jobs / 100) * (0.9 + Math.random() / 10))}`,
        }),
      },
    ],
  },
  {
    name: 'big-lists',
    description: '20 connections list 100 jobs at a time, and all that is active',
    loops: [
      {
        token: 'view',
        connections: 20,
        next: () => ({ method: 'GET', path: pick(['/jobs?includeCompleted=true&pageSize=100', '/active']) }),
      },
    ],
  },
  {
    name: 'searches',
    description: '20 connections search names for what is not there',
    loops: [
      {
        token: 'view',
        connections: 20,
        next: () => ({ method: 'GET', path: `/jobs?includeCompleted=true&search=${randomUUID().slice(0, 8)}` }),
      },
    ],
  },
  {
    name: 'statistics',
    description: '20 connections ask for the statistics of a year',
    loops: [
      {
        token: 'view',
        connections: 20,
        next: () => ({
          method: 'GET',
          path: `/stats?since=${new Date(Date.now() - 365 * 86_400_000).toISOString()}`,
        }),
      },
    ],
  },
  {
    name: 'single-reads',
    description: '20 connections read one job after the other',
    loops: [
      { token: 'view', connections: 20, next: ({ running }) => ({ method: 'GET', path: `/jobs/${pick(running)}` }) },
    ],
  },
  {
    name: 'held-answers',
    description: '1,000 answers are held on one job, which reports ten times a second',
    loops: [
      {
        token: 'view',
        connections: 1_000,
        next: ({ running }) => ({
          method: 'GET',
          path: `/jobs/${running[0]}`,
          headers: 'prefer: wait=60\r\n',
          conditional: true,
        }),
      },
      {
        token: 'update',
        connections: 1,
        pauseMs: 100,
        next: ({ running, turn }) => ({
          method: 'POST',
          path: `/jobs/${running[0]}/heartbeat`,
          body: JSON.stringify({ processedCount: turn + 2 }),
        }),
      },
    ],
  },
  {
    name: 'streams',
    description: '300 streams, each of 100 jobs of its own choice, open and are closed again',
    loops: [
      {
        token: 'view',
        connections: 300,
        stream: true,
        pauseMs: 3_000,
        next: ({ running }) => {
          const ids = Array.from({ length: 100 }, () => `jobId=${pick(running)}`)
          return { method: 'GET', path: `/stream?${ids.join('&')}` }
        },
      },
      REPORTS,
    ],
  },
  {
    name: 'resumes',
    description: '100 streams of everything begin again and again, each with an id of its own from the last hour',
    loops: [
      {
        token: 'view',
        connections: 100,
        stream: true,
        pauseMs: 500,
        next: () => {
          const id = `${Date.now() - Math.floor(Math.random() * 3_500_000)}.0`
          return { method: 'GET', path: `/stream?lastEventId=${id}` }
        },
      },
      REPORTS,
    ],
  },
  {
    name: 'random-heartbeats',
    description: '10 connections report 1,000 jobs at a time that do not exist',
    loops: [
      {
        token: 'update',
        connections: 10,
        next: () => ({
          method: 'POST',
          path: '/heartbeats',
          body: bulk(Array.from({ length: 1_000 }, () => ({ jobId: randomUUID(), processedCount: 1 }))),
        }),
      },
    ],
  },
  {
    name: 'large-heartbeats',
    description: '6 connections send bodies of 4 MB to jobs that exist',
    loops: [
      {
        token: 'update',
        connections: 6,
        next: ({ running, turn }) => ({
          method: 'POST',
          path: '/heartbeats',
          body: bulk(
            Array.from({ length: 1_000 }, (_, n) => ({
              jobId: running[n % running.length],
              workerId: `w${n % 50}`,
              processedCount: turn,
              payload: { text: 'x'.repeat(3_800) },
            })),
          ),
        }),
      },
    ],
  },
  {
    name: 'batches',
    description: `10 connections create batches of ${PARTITIONS} partitions`,
    loops: [
      {
        token: 'update',
        connections: 10,
        next: () => ({
          method: 'POST',
          path: '/jobs',
          body: JSON.stringify({
            jobType: 'hostile',
            name: 'a batch',
            partitions: Array.from({ length: PARTITIONS }, (_, n) => ({ name: `part ${n}` })),
          }),
        }),
      },
    ],
  },
  {
    name: 'creates',
    description: '20 connections create jobs',
    loops: [
      {
        token: 'update',
        connections: 20,
        next: () => ({ method: 'POST', path: '/jobs', body: JSON.stringify({ jobType: 'hostile', name: 'a job' }) }),
      },
    ],
  },
  {
    name: 'unfinished-bodies',
    description: '100 connections send 8 MB but for a few bytes, and wait',
    loops: [
      {
        token: 'update',
        connections: 100,
        unfinished: ALMOST_8_MB,
        next: () => ({ method: 'POST', path: '/heartbeats' }),
      },
    ],
  },
]

/** Everything at once, each with a quarter of its connections. */
ATTACKS.push({
  name: 'everything',
  description: 'all of these at once, each with a quarter of its connections',
  loops: ATTACKS.flatMap(({ loops }) => loops).map(loop => ({ ...loop, connections: Math.ceil(loop.connections / 4) })),
})

const loopsOf = names => ATTACKS.filter(({ name }) => names.includes(name)).flatMap(({ loops }) => loops)

/** Both tokens at their worst: each attack of the one beside each of the other, with all connections of both. */
for (const view of ['deep-pages', 'held-answers', 'streams', 'resumes']) {
  for (const update of ['large-heartbeats', 'unfinished-bodies', 'random-heartbeats']) {
    const name = `${view}+${update}`
    ATTACKS.push({
      name,
      description: `${view} and ${update}, both with all of their connections`,
      loops: loopsOf([view, update]),
    })
  }
}
