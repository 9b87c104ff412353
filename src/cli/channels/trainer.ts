import { randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { TRAINER_VARIABLES, trainerReport, type TrainerStatus } from '../../contract/trainer-status.ts'
import type { Channel, ChannelOptions } from './channel.ts'

/** As much as Kubeflow Trainer takes. */
const MAX_BODY_BYTES = 64 * 1024

const read = async (request: IncomingMessage): Promise<string | null> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length
    if (bytes > MAX_BODY_BYTES) return null
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}

const numberOrNull = (value: unknown): number | null => (typeof value === 'number' ? value : null)

const isMetric = (metric: unknown): metric is { name: string; value: string | number } => {
  const { name, value } = (metric ?? {}) as Record<string, unknown>
  return typeof name === 'string' && (typeof value === 'string' || typeof value === 'number')
}

/** The status of a body, without what has another type than it should; null if the body is none. */
const statusOf = (text: string): TrainerStatus | null => {
  try {
    const { trainerStatus } = JSON.parse(text) as { trainerStatus?: Record<string, unknown> | null }
    const { progressPercentage, estimatedRemainingSeconds, metrics } = trainerStatus ?? {}
    return {
      progressPercentage: numberOrNull(progressPercentage),
      estimatedRemainingSeconds: numberOrNull(estimatedRemainingSeconds),
      metrics: Array.isArray(metrics) ? metrics.filter(isMetric) : null,
    }
  } catch {
    return null
  }
}

/**
 * Takes what a training sends to Kubeflow Trainer, at an address of this machine, with a token that is good for nothing else.
 * Resolves with null where the variables are set already: the training reports to somebody else.
 */
export const openTrainerChannel = async ({ environment, onReport }: ChannelOptions): Promise<Channel | null> => {
  if (Object.values(TRAINER_VARIABLES).some(name => environment[name] !== undefined)) return null
  const token = randomBytes(24).toString('hex')
  const expected = Buffer.from(`Bearer ${token}`)
  const server = createServer((request, response) => {
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
      response.end(JSON.stringify(body))
    }
    const given = Buffer.from(request.headers.authorization ?? '')
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      answer(401, { detail: `Send the token that stands in the file which ${TRAINER_VARIABLES.token} names.` })
      return
    }
    if (request.method !== 'POST') {
      answer(405, { detail: 'Send the status by POST.' })
      return
    }
    read(request).then(
      text => {
        const status = text === null ? null : statusOf(text)
        if (!status) {
          answer(text === null ? 413 : 400, { detail: 'Send {"trainerStatus": {…}}, at most 64 KB of JSON.' })
          return
        }
        onReport(trainerReport(status))
        answer(200, {})
      },
      // The command has gone away in the middle of its request.
      () => response.destroy(),
    )
  })
  const directory = await mkdtemp(join(tmpdir(), 'headway-'))
  const close = async (): Promise<void> => {
    server.closeAllConnections()
    server.close()
    await rm(directory, { recursive: true, force: true })
  }
  const [tokenFile, caFile] = [join(directory, 'token'), join(directory, 'ca.crt')]
  try {
    await writeFile(tokenFile, token, { mode: 0o600 })
    // The address has no TLS. Some senders load the file all the same, so it must be a certificate.
    await writeFile(caFile, `${rootCertificates[0]}\n`)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  } catch (error) {
    await close()
    throw error
  }
  const { port } = server.address() as AddressInfo
  return {
    environment: {
      [TRAINER_VARIABLES.url]: `http://127.0.0.1:${port}/trainer-status`,
      [TRAINER_VARIABLES.token]: tokenFile,
      [TRAINER_VARIABLES.ca]: caFile,
    },
    close,
  }
}
