import type { Heartbeat } from './heartbeat.ts'
import { MAX_COUNT, type JsonObject } from './job.ts'

/**
 * How far a training is, in the form in which training frameworks send it to Kubeflow Trainer (KEP-2779,
 * https://github.com/kubeflow/trainer/tree/master/docs/proposals/2779-trainjob-progress). Every field may be absent.
 */
export interface TrainerStatus {
  progressPercentage?: number | null | undefined
  estimatedRemainingSeconds?: number | null | undefined
  metrics?: readonly { name: string; value: string | number }[] | null | undefined
}

/** The variables in which a training finds the address, the file with the token, and the file with the certificate. */
export const TRAINER_VARIABLES = {
  url: 'KUBEFLOW_TRAINER_SERVER_URL',
  token: 'KUBEFLOW_TRAINER_SERVER_TOKEN',
  ca: 'KUBEFLOW_TRAINER_SERVER_CA_CERT',
} as const

/** What a payload may have as JSON. */
const MAX_PAYLOAD_BYTES = 4 * 1024

const DECIMAL = /^-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i

/** Metrics come as text. One that a payload can hold as a number becomes one; `nan` and `1e400` stay text. */
const valueOf = (value: string | number): string | number => {
  const number = typeof value === 'number' || DECIMAL.test(value) ? Number(value) : NaN
  const isKept = number === 0 || (Math.abs(number) <= MAX_COUNT && Math.abs(number) >= 1e-100)
  return isKept ? number : storable(String(value))
}

/** Postgres stores no NUL, and UTF-8 has no halves of surrogate pairs. */
const storable = (text: string): string => text.replaceAll(/\0|\p{Surrogate}/gu, '\ufffd')

const sizeOf = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length

/** As many metrics as a payload has room for, in their order. Of those with the same name, the last one counts. */
const payloadOf = (metrics: NonNullable<TrainerStatus['metrics']>): JsonObject => {
  const payload: JsonObject = {}
  let bytes = 2
  for (const { name, value } of metrics) {
    const key = storable(name)
    if (key === '' || key === '__proto__') continue
    bytes += sizeOf({ [key]: valueOf(value) }) - 1
    if (bytes > MAX_PAYLOAD_BYTES) break
    payload[key] = valueOf(value)
  }
  return payload
}

/**
 * A training's status as a report. 100 % is reported as 99: whoever started the training says whether it has completed.
 */
export const trainerReport = ({
  progressPercentage,
  estimatedRemainingSeconds,
  metrics,
}: TrainerStatus): Pick<Heartbeat, 'progressPercent' | 'etaSeconds' | 'payload'> => ({
  ...(progressPercentage != null && { progressPercent: Math.max(0, Math.min(99, Math.floor(progressPercentage))) }),
  ...(estimatedRemainingSeconds != null && {
    etaSeconds: Math.max(0, Math.min(MAX_COUNT, Math.floor(estimatedRemainingSeconds))),
  }),
  ...(metrics != null && { payload: payloadOf(metrics) }),
})
