// What a reader of the figures must know of the machine: no names, no paths.
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, totalmem } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { haproxyVersion, nchanVersion, nginxVersion, redisVersion } from './programs.js'

const packageVersion = path => {
  try {
    return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version
  } catch {
    return null
  }
}

const ofRoot = name => packageVersion(`../../../node_modules/${name}/package.json`)
const ofPeer = name => packageVersion(`../node_modules/${name}/package.json`)

export const describeMachine = () => ({
  cores: availableParallelism(),
  memoryGb: Math.round(totalmem() / 2 ** 30),
  cpu: (cpus()[0]?.model ?? 'unknown').replace(/\((R|TM)\)/g, '').trim(),
  system: process.platform,
})

export const describeVersions = postgres =>
  Object.fromEntries(
    Object.entries({
      Headway: packageVersion('../../../package.json'),
      Node: process.versions.node,
      PostgreSQL: postgres,
      Fastify: ofRoot('fastify'),
      Redis: redisVersion(),
      BullMQ: ofPeer('bullmq'),
      DBOS: ofPeer('@dbos-inc/dbos-sdk'),
      HAProxy: haproxyVersion(),
      nginx: nginxVersion(),
      nchan: nchanVersion(),
      'better-sse': ofPeer('better-sse'),
      'fastify-sse-v2': ofPeer('fastify-sse-v2'),
    }).filter(([, version]) => version !== null && version !== undefined),
  )

const cpuTimes = () =>
  cpus().reduce(
    (sum, { times: { user, nice, sys, irq, idle } }) => ({
      busy: sum.busy + user + nice + sys + irq,
      all: sum.all + user + nice + sys + irq + idle,
    }),
    { busy: 0, all: 0 },
  )

/** How busy the cores are with other work, in percent, over two seconds: it makes figures worse, and unequally so. */
export const busyPercent = async () => {
  const before = cpuTimes()
  await delay(2_000)
  const after = cpuTimes()
  return Math.round((100 * (after.busy - before.busy)) / (after.all - before.all))
}
