import { count, type Found, type Preset } from './preset.ts'

const CLOCK = '(\\d+):(\\d\\d):(\\d\\d(?:\\.\\d+)?)'
const DURATION = new RegExp(`^\\s*Duration: ${CLOCK}`)
const TIME = new RegExp(`\\b(?:time|out_time)=\\s*${CLOCK}`)

const secondsOf = (match: RegExpExecArray): number =>
  match.slice(1).reduce((seconds, part) => 60 * seconds + Number(part), 0)

/** From this length on, a second is less than one percent. */
const WHOLE_SECONDS = 100

/**
 * The time that is written, of the duration of the longest input. Where more is written than that, the inputs come one after the
 * other, and the sum of their durations counts.
 */
export const ffmpeg: Preset = {
  commands: ['ffmpeg'],
  read() {
    let [longest, sum] = [0, 0]
    const of = (done: number, total: number): Found =>
      total >= WHOLE_SECONDS
        ? count(Math.floor(done), Math.round(total))
        : { done: (100 * done) / total, total: 100, kind: 'percent' }
    return line => {
      const duration = DURATION.exec(line)
      if (duration) {
        longest = Math.max(longest, secondsOf(duration))
        sum += secondsOf(duration)
        return null
      }
      const time = TIME.exec(line)
      if (!time) return null
      const done = secondsOf(time)
      if (longest === 0) return count(Math.floor(done))
      const total = done > longest + 1 ? sum : longest
      return of(Math.min(done, total), total)
    }
  },
}
