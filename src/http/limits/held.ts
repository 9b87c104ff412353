import { HeadwayError } from '../../contract/errors.ts'

export interface HeldLimits {
  /** Answers of one caller that may be held at the same time. */
  maxPerCaller: number
  /** Answers of the process that may be held at the same time. */
  max: number
}

/** Takes a place for an answer that is held, and answers the function that gives the place back. Raises `too_many_streams`. */
export type Hold = (caller: string | null) => () => void

const refuse = (message: string) => new HeadwayError('too_many_streams', message, { retryAfterSeconds: 5 })

/**
 * Limits the answers that `Prefer: wait` holds, as streams are limited. Each keeps a request in memory for up to a minute, and
 * one connection can send thousands of them without waiting for the answers.
 */
export const createHold = ({ maxPerCaller, max }: HeldLimits): Hold => {
  const heldOf = new Map<string, number>()
  let held = 0
  const count = (caller: string | null, change: 1 | -1): void => {
    held += change
    if (caller === null) return
    const ofCaller = (heldOf.get(caller) ?? 0) + change
    if (ofCaller > 0) heldOf.set(caller, ofCaller)
    else heldOf.delete(caller)
  }
  return caller => {
    if (caller !== null && (heldOf.get(caller) ?? 0) >= maxPerCaller) {
      throw refuse(
        `${maxPerCaller} of your answers are held already, which is the limit: wait for fewer jobs, or follow a stream.`,
      )
    }
    if (held >= max) throw refuse('This process holds as many answers as it may: try again soon.')
    count(caller, 1)
    return () => count(caller, -1)
  }
}
