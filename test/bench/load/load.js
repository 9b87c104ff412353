import { startWorker } from '../environment/processes.js'

/** A new process that makes load. */
export const startLoad = () => startWorker(new URL('worker.js', import.meta.url))
