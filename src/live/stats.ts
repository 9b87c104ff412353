/** Counts of the live side since its start: plain numbers, read by metrics and by tests. */
export interface LiveStats {
  /** Documents encoded as a frame. One per document, event name and format, however many feeds and subscribers get it. */
  serialisations: number
  /** Snapshots encoded. */
  snapshots: number
  /** Frames added to feeds. */
  frames: number
  /** Calls of `response.write`, and their bytes. */
  writes: number
  bytes: number
  /** Times that a subscriber that was behind was written to from `latest`. */
  catchUps: number
  /** Readers that were ended because they accepted too little for too long. */
  cut: number
  /** Statements that read the states of jobs for waiting callers. */
  stateReads: number
  /** Reads of documents that failed and were repeated later. */
  failedReads: number
  /** Times that the listener worked again after a failure. */
  reconnects: number
  /** How long the listener's last ping took, in milliseconds. */
  pingMs: number
  /** Ignored payloads of other programs. */
  malformed: number
}

export const createStats = (): LiveStats => ({
  serialisations: 0,
  snapshots: 0,
  frames: 0,
  writes: 0,
  bytes: 0,
  catchUps: 0,
  cut: 0,
  stateReads: 0,
  failedReads: 0,
  reconnects: 0,
  pingMs: 0,
  malformed: 0,
})
