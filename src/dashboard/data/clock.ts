export { ShownClock } from '../../client/shown-clock.ts'
