// The process that makes the load: beside the contestants, never inside of them.
import { serveCalls } from '../environment/processes.js'
import * as fleet from './fleet.js'
import * as heartbeats from './heartbeats.js'
import * as latency from './latency.js'
import * as mixed from './mixed.js'
import * as subscribers from './subscribers.js'
import * as year from './year.js'

serveCalls({ ready: () => ({}), ...fleet, ...heartbeats, ...latency, ...mixed, ...subscribers, ...year })
