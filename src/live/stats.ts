/** What the live side has done since it started: plain numbers, read by metrics and by tests. */
export interface LiveStats {
  /** Documents encoded as a frame. One per document, event name and format, however many feeds and subscribers get it. */
  serialisations: number
  /** Snapshots encoded. */
  snapshots: number
  /** Frames that went into feeds. */
  frames: number
  /** Calls of `response.write`, and the bytes they were given. */
  writes: number
  bytes: number
  /** Times a subscriber that had fallen behind was written to from `latest`. */
  catchUps: number
  /** Readers ended because they accepted too little for too long. */
  cut: number
  /** Statements that told those who wait for a job what has become of it. */
  stateReads: number
  /** Reads of documents that failed and were put off. */
  failedReads: number
  /** Times the listener was heard again after a silence. */
  reconnects: number
  /** How long the listener's last ping took to come back, in milliseconds. */
  pingMs: number
  /** Payloads that were none of ours, ignored. */
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
