// The process that makes the load: beside the contestants, never inside of them.
import { serveCalls } from '../environment/processes.js'
import * as heartbeats from './heartbeats.js'
import * as latency from './latency.js'
import * as mixed from './mixed.js'
import * as subscribers from './subscribers.js'

serveCalls({ ready: () => ({}), ...heartbeats, ...latency, ...mixed, ...subscribers })
