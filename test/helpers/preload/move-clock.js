// For `node --import`: with each SIGUSR2 the clock of this process jumps, an hour ahead, two back, two ahead, … Timers go on
// as they were: it is the wall clock that is moved, as by an administrator or a guest that was resumed.
const RealDate = Date
let offsetMs = 0

globalThis.Date = class extends RealDate {
  constructor(...parts) {
    if (parts.length === 0) super(RealDate.now() + offsetMs)
    else super(...parts)
  }
  static now() {
    return RealDate.now() + offsetMs
  }
}

process.on('SIGUSR2', () => {
  offsetMs = offsetMs > 0 ? -3_600_000 : 3_600_000
})
