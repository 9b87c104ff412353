// The estimators that Headway is measured against, written from their documented formulas. Each is told of every report
// (`t` seconds since the attempt began, `done` units in all) and then asked for the rate, null while it has none. All of
// them begin anew with an attempt. tqdm and indicatif are told what it inherits, as their users can; the plain average,
// which knows no such thing, divides all that is done.

/** Work done divided by the time since the start. */
export const createAverage = () => {
  let rate = null
  return {
    observe: (t, done) => {
      rate = t > 0 && done > 0 ? done / t : null
    },
    rate: () => rate,
  }
}

const TQDM_SMOOTHING = 0.3

/** tqdm 4 (`smoothing`): averages of units and of seconds per update, each corrected for its start; idle updates are none. */
export const createTqdm = initial => {
  let units = 0
  let seconds = 0
  let last = { t: 0, done: initial }
  return {
    observe: (t, done) => {
      if (t <= last.t || done <= last.done) return
      units += TQDM_SMOOTHING * (done - last.done - units)
      seconds += TQDM_SMOOTHING * (t - last.t - seconds)
      last = { t, done }
    },
    // The correction, 1 - 0.7^n, is the same for both and cancels out.
    rate: () => (seconds > 0 ? units / seconds : null),
  }
}

const INDICATIF_SECONDS = 15

/** indicatif 0.18: an average over time in which all that is older than 15 s weighs a tenth, and the same average of it. */
export const createIndicatif = initial => {
  const weightAt = age => 0.1 ** (age / INDICATIF_SECONDS)
  let once = 0
  let twice = 0
  let last = { t: 0, done: initial }
  return {
    observe: (t, done) => {
      if (t <= last.t || done <= last.done) return
      const old = weightAt(t - last.t)
      once = once * old + ((done - last.done) / (t - last.t)) * (1 - old)
      twice = twice * old + (once / (1 - weightAt(t))) * (1 - old)
      last = { t, done }
    },
    // The time since the last advance counts as one without work.
    rate: t => {
      if (last.t === 0) return null
      const whole = 1 - weightAt(t)
      const old = weightAt(t - last.t)
      return (twice * old + ((once * old) / whole) * (1 - old)) / whole
    },
  }
}
