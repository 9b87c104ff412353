import { isEnding, isWork, type Call, type CallKind } from './call.ts'

/** What a scenario has seen of a worker. */
export interface Observed {
  calls: readonly Call[]
  /** The command ended by itself. */
  hasEnded: boolean
  /** Its exit code; null: a signal ended it. */
  exitCode: number | null
  /** When the command ended or was stopped, in milliseconds since the scenario began. */
  endedAt: number
  heartbeatIntervalMs: number
}

/** True: held. A text: what was seen instead. Null: the worker never came to it. */
export type Finding = true | string | null

export interface Rule {
  /** What a good worker does. */
  sentence: string
  judge: (observed: Observed) => Finding
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`

const reportsOf = (calls: readonly Call[]) =>
  calls.flatMap(({ reports, at, answeredAt }) => reports.map(report => ({ ...report, at, answeredAt })))

const firstIndex = (calls: readonly Call[], is: (call: Call) => boolean): number | null => {
  const index = calls.findIndex(is)
  return index < 0 ? null : index
}

/** An answer has arrived by then. */
const ARRIVAL_MS = 50

/** Work that was sent after the answer to a call had arrived. */
const workAfter = (calls: readonly Call[], answered: Call): Call[] =>
  calls.filter(call => isWork(call) && answered.answeredAt !== null && call.at > answered.answeredAt + ARRIVAL_MS)

export const REPORTS: Rule = {
  sentence: 'It reports.',
  judge: ({ calls }) => calls.some(({ kind }) => kind === 'report') || 'No report came.',
}

export const TOKEN: Rule = {
  sentence: 'It sends its token with each call.',
  judge: ({ calls }) => {
    const without = calls.filter(({ hasToken }) => !hasToken)
    return without.length === 0 || `${without.length} of ${calls.length} calls had none (HEADWAY_TOKEN).`
  },
}

export const ABSOLUTE: Rule = {
  sentence: 'It sends absolute counts, which never fall.',
  judge: ({ calls }) => {
    const reports = reportsOf(calls)
    if (reports.some(({ body }) => body['increment'] !== undefined)) {
      return 'It sent increments: one that is lost is never made good, and one that is sent twice counts twice.'
    }
    const last = new Map<string, { count: number; part: string; time: number }>()
    for (const { workerId, body } of reports) {
      const { processedCount: count, stage, unit, reportedAt } = body
      if (typeof count !== 'number') continue
      const before = last.get(workerId) ?? { count: 0, part: '', time: -Infinity }
      const time = typeof reportedAt === 'string' ? Date.parse(reportedAt) : before.time
      // A late report moves nothing back.
      if (time < before.time) continue
      // A stage, and a unit, have a count of their own.
      const part = JSON.stringify([stage ?? null, unit ?? null])
      const isSame = (stage === undefined && unit === undefined) || part === before.part
      if (isSame && count < before.count) return `${workerId} reported ${before.count}, and ${count} afterwards.`
      last.set(workerId, { count, part: stage === undefined && unit === undefined ? before.part : part, time })
    }
    return true
  },
}

const LEARNS: readonly CallKind[] = ['read', 'create', 'start']

/** The bodies without an attempt, from when the worker could know it. */
const withoutAttempt = (calls: readonly Call[]): Call[] => {
  const learnt = calls.find(({ kind, status }) => LEARNS.includes(kind) && status !== null && status < 300)
  const knowsAt = learnt?.answeredAt ?? 0
  return calls.filter(
    call =>
      isWork(call) &&
      call.at > knowsAt &&
      (call.reports.length > 0 ? call.reports.map(each => each.body) : [call.body]).some(
        ({ attempt }) => attempt === undefined,
      ),
  )
}

export const ATTEMPT: Rule = {
  sentence: 'It sends the attempt that it works on, once it has read it, with each report and with the end.',
  judge: ({ calls }) => {
    const without = withoutAttempt(calls)
    return without.length === 0 || `${without.length} of ${counted(calls.filter(isWork).length, 'call')} had none.`
  },
}

/** Without `reportedAt` the order of arrival counts, so then only one report may be on its way. */
export const ORDER: Rule = {
  sentence: 'Its reports stay in order.',
  judge: ({ calls }) => {
    const times = new Map<string, { time: string; answeredAt: number }>()
    for (const { workerId, body, at, answeredAt } of reportsOf(calls)) {
      const time = body['reportedAt']
      if (typeof time !== 'string') continue
      const before = times.get(workerId)
      const isEarlier = before !== undefined && Date.parse(time) < Date.parse(before.time)
      // Two that are on their way may overtake each other.
      if (isEarlier && at > before.answeredAt) {
        return `${workerId} sent reportedAt ${before.time}, and ${time} afterwards.`
      }
      if (!isEarlier) times.set(workerId, { time, answeredAt: answeredAt ?? Infinity })
    }
    const unordered = calls.filter(({ reports }) => reports.some(({ body }) => body['reportedAt'] === undefined))
    const overlap = unordered.find((call, index) => {
      const before = unordered[index - 1]
      return before && before.status !== null && before.answeredAt !== null && before.answeredAt > call.at
    })
    return (
      !overlap ||
      `At ${seconds(overlap.at)} a report was sent before the one before it was answered, without reportedAt.`
    )
  },
}

export const CADENCE: Rule = {
  sentence: 'It reports at least once per heartbeatIntervalMs, also while nothing advances.',
  judge: ({ calls, heartbeatIntervalMs }) => {
    // The first call of all is where its silence begins.
    const work = calls.filter((call, index) => index === 0 || isWork(call))
    // Half an interval for a busy machine.
    const most = 1.5 * heartbeatIntervalMs + 1_000
    const gap = work.find((call, index) => index > 0 && call.at - (work[index - 1] as Call).at > most)
    return !gap || `It was silent for more than ${seconds(most)} before ${seconds(gap.at)}.`
  },
}

const AT_ONCE = 10
const LEAST_MS = 4_000

export const CALM: Rule = {
  sentence: 'It does not hammer: ten calls take at least four seconds.',
  judge: ({ calls }) => {
    const hasty = calls.find((call, index) => {
      const tenth = calls[index + AT_ONCE - 1]
      return tenth && tenth.at - call.at < LEAST_MS
    })
    return !hasty || `From ${seconds(hasty.at)} on it made ten calls in less than ${seconds(LEAST_MS)}.`
  },
}

export const ONE_AT_A_TIME: Rule = {
  sentence: 'It waits for answers: at most two calls are on their way.',
  judge: ({ calls }) => {
    for (const { at } of calls) {
      const open = calls.filter(call => call.at <= at && (call.answeredAt === null || call.answeredAt > at)).length
      if (open > 2) return `At ${seconds(at)} it had ${open} calls on their way.`
    }
    return true
  },
}

export const COMPLETES: Rule = {
  sentence: 'It goes on working, and completes the job.',
  judge: ({ calls, hasEnded, exitCode }) => {
    if (!hasEnded) return 'It did not end in time.'
    if (!calls.some(({ kind, isTaken }) => kind === 'complete' && isTaken)) return 'It never completed the job.'
    return exitCode === 0 || `It completed the job, and ended with code ${exitCode}.`
  },
}

export const ONE_END: Rule = {
  sentence: 'It says how it ended, until it is heard, and nothing afterwards.',
  judge: ({ calls }) => {
    const heard = calls.find(call => isEnding(call) && call.isTaken && call.status !== null)
    if (!heard) return calls.some(isEnding) ? 'Its end was never taken.' : 'It never said how it ended.'
    const after = workAfter(calls, heard)
    return (
      after.length === 0 || `It made ${counted(after.length, 'call')} after its end was answered: ${after[0]?.text}.`
    )
  },
}

export const END_ONCE_MORE: Rule = {
  sentence: 'It repeats an end whose answer was lost, and is content with already_finished.',
  judge: ({ calls, hasEnded, exitCode }) => {
    const endings = calls.filter(isEnding)
    if (endings.length === 0) return 'It never said how it ended.'
    if (endings.length === 1) return 'The answer to its end was lost, and it did not ask again.'
    if (endings.length > 4) return `It said its end ${endings.length} times.`
    if (!hasEnded) return 'It did not end in time.'
    return exitCode === 0 || `It ended with code ${exitCode}.`
  },
}

export const RETRY_AFTER: Rule = {
  sentence: 'After 429 and 503 it waits for Retry-After.',
  judge: ({ calls }) => {
    const busy = calls.filter(({ retryAfterSeconds }) => retryAfterSeconds !== null)
    if (busy.length === 0) return null
    for (const { answeredAt, retryAfterSeconds } of busy) {
      // What was sent before the answer arrived is not early.
      const arrivedAt = (answeredAt ?? Infinity) + ARRIVAL_MS
      const wait = (retryAfterSeconds ?? 0) * 1000
      // A tenth for timers that round.
      const early = calls.find(({ at }) => at > arrivedAt && at < arrivedAt + 0.9 * wait - ARRIVAL_MS)
      if (early)
        return `It was told to wait ${seconds(wait)}, and called after ${seconds(early.at - (answeredAt ?? 0))}.`
    }
    return true
  },
}

/** A worker may sleep in its work for a moment before it looks. */
const STOP_MS = 10_000

export const STOPS: Rule = {
  sentence: 'It stops when an answer says cancelRequested, and acknowledges by cancelled.',
  judge: ({ calls, hasEnded, endedAt }) => {
    const asked = calls.find(({ asksToStop }) => asksToStop)
    if (!asked?.answeredAt) return null
    const end = calls.find(call => isEnding(call) && call.at > asked.at)
    if (!end) return 'It was asked to stop, and never said that it had.'
    if (end.kind === 'fail') return 'It failed the job in place of cancelled.'
    // It may finish anyway, which does not show that it listens.
    if (end.kind === 'complete') return null
    const late = end.at - asked.answeredAt
    if (late > STOP_MS) return `It said so after ${seconds(late)}.`
    return (hasEnded && endedAt - end.at < STOP_MS) || 'It did not end.'
  },
}

/** It stops working for a refusal that will not change. */
const obeys =
  (code: string, mayCall: number) =>
  ({ calls, hasEnded }: Observed): Finding => {
    const index = firstIndex(calls, call => call.code === code && isWork(call))
    if (index === null) return null
    const after = workAfter(calls, calls[index] as Call)
    if (after.length > mayCall) return `It made ${after.length} more calls, such as ${after.at(-1)?.text}.`
    const taken = after.find(({ isTaken }) => isTaken)
    if (taken) return `It went on for the attempt that took over: ${taken.text}.`
    return hasEnded || 'It did not end in time.'
  }

export const SUPERSEDED: Rule = {
  sentence: 'It stops at superseded: another attempt has taken over.',
  judge: observed =>
    withoutAttempt(observed.calls).length > 0
      ? 'It sent no attempt, so its reports were taken for those of the attempt that took over.'
      : obeys('superseded', 1)(observed),
}

export const GONE: Rule = {
  sentence: 'It stops reporting at job_not_found.',
  judge: obeys('job_not_found', 2),
}

export const REFUSED: Rule = {
  sentence: 'A refused token does not make it call again and again, nor keep it from ending.',
  judge: ({ calls, hasEnded, endedAt }) => {
    const index = firstIndex(calls, ({ status }) => status === 401)
    if (index === null) return null
    const first = calls[index] as Call
    const after = calls.slice(index + 1).length
    // A worker may hope for a new token, once per heartbeat.
    const most = 3 + Math.ceil((endedAt - first.at) / 1_000)
    if (after > most) return `It made ${after} more calls.`
    return hasEnded || 'It did not end in time.'
  },
}
